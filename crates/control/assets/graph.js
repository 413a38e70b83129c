// A graph over time: uPlot, with a line for each event, and a stretch drawn with the mouse to zoom.

import { el } from './page.js';
import { zoom } from './state.js';

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const drawn = [];

// Those that are shown no more.
export function forgetGraphs() {
  const kept = drawn.filter(({ plot }) => plot.root.isConnected);
  drawn.filter((graph) => !kept.includes(graph)).forEach(({ plot, watch }) => { watch.disconnect(); plot.destroy(); });
  drawn.splice(0, drawn.length, ...kept);
}

function drawEvents(plot, events) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = colour('--event');
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const event of events) {
    const x = Math.round(plot.valToPos(event.at, 'x', true)) + 0.5;
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

// What happened near the pointer, in words.
function near(plot, events) {
  const left = plot.cursor.left;
  if (left == null || left < 0) return '';
  const close = events.filter((event) => Math.abs(plot.valToPos(event.at, 'x') - left) < 6);
  return close.map((event) => [event.tag, event.text].filter(Boolean).join(': ')).join(' · ');
}

// Hours and minutes, or the day where it changes or nothing shorter is shown.
function clock(at, step, n) {
  const [day, hour] = new Date(at * 1000).toLocaleString('sv').split(' ');
  const short = hour.slice(0, 5);
  if (step >= 86400) return day.slice(step >= 2592000 ? 0 : 5, step >= 2592000 ? 7 : undefined);
  return n === 0 || short === '00:00' ? `${short}\n${day.slice(5)}` : short;
}

// lines: [{ name, values, colour, dash }], all of the same buckets { from, width }.
export function graph(title, { from, width }, lines, { say, events = [], range }) {
  const known = lines.some((line) => line.values.some((value) => value != null));
  const happened = el('p', { class: 'happened', 'aria-live': 'off' });
  const place = el('div', { class: 'plot' });
  const section = el('section', { class: 'graph', 'data-title': title }, el('h2', {}, title), place, happened);
  if (!known) {
    place.append(el('p', { class: 'quiet' }, 'No data'));
    return section;
  }
  const times = lines[0].values.map((_, n) => from + n * width);
  const axis = { stroke: colour('--quiet'), grid: { stroke: colour('--rule'), width: 1 }, ticks: { stroke: colour('--rule') } };
  const options = {
    width: 600,
    height: 190,
    // The pointer is shown in all graphs, but drawn in one.
    cursor: { sync: { key: 'time', filters: { pub: (type) => !/^mouse(down|up)$/.test(type) } }, drag: { x: true, y: false, setScale: false } },
    scales: {
      x: { range: () => [range.from, range.until] },
      y: { range: (_, low, high) => [Math.min(0, low ?? 0), (high ?? 0) > 0 ? high * 1.05 : 1] },
    },
    axes: [{ ...axis, values: (_, ticks, __, ___, step) => ticks.map((at, n) => clock(at, step, n)) }, { ...axis, size: 64, values: (_, ticks) => ticks.map(say) }],
    series: [
      { value: (_, at) => (at == null ? '' : new Date(at * 1000).toLocaleString('sv').slice(0, 16)) },
      ...lines.map((line) => ({
        label: line.name,
        stroke: colour(line.colour),
        width: 1.5,
        dash: line.dash ? [5, 4] : undefined,
        value: (_, value) => say(value),
        points: { show: false },
      })),
    ],
    hooks: {
      draw: [(plot) => drawEvents(plot, events)],
      setCursor: [(plot) => { happened.textContent = near(plot, events); }],
      setSelect: [(plot) => {
        const { left, width: drag } = plot.select;
        if (drag > 4) zoom(plot.posToVal(left, 'x'), plot.posToVal(left + drag, 'x'));
      }],
    },
  };
  const plot = new uPlot(options, [times, ...lines.map((line) => line.values)], place);
  const watch = new ResizeObserver(() => {
    const wide = Math.floor(place.clientWidth);
    if (wide > 0 && wide !== plot.width) plot.setSize({ width: wide, height: options.height });
  });
  watch.observe(place);
  drawn.push({ plot, watch });
  return section;
}
