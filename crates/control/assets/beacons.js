// Failure beacons: where users sit who could not be served, and what failed.

import { el, svg, table } from './page.js';
import { get, events } from './api.js';
import { graph } from './graph.js';
import { count } from './figures.js';

let world = null;

const names = new Intl.DisplayNames(['en'], { type: 'region' });
function country(code) {
  try { return /^[A-Z]{2}$/.test(code) ? names.of(code) : code; } catch { return code; }
}

function map(totals) {
  const most = Math.max(1, ...totals.values());
  // By the logarithm: one country with many must not hide all others.
  const shade = (value) => (value ? 1 + Math.round(8 * Math.log(1 + value) / Math.log(1 + most)) : 0);
  return el('figure', { class: 'map' },
    svg('svg', { viewBox: '-180 -84 360 142', role: 'img', 'aria-label': 'Beacons by country' },
      Object.entries(world).map(([code, d]) => svg('path', { d, class: `shade${shade(totals.get(code))}`, 'data-country': code },
        svg('title', {}, `${country(code)}: ${count(totals.get(code) || 0)}`)))),
    el('figcaption', {}, 'Beacons by country; outlines by Natural Earth. Small countries stand in the table alone.'));
}

export async function beacons({ cdn, from, until }) {
  world ||= await get('/assets/world.json');
  const [countries, sources, lines, happened] = await Promise.all([
    get('/api/totals', { figure: 'beacon_countries', from, until }),
    get('/api/totals', { figure: 'beacons', cdn, from, until }),
    get('/api/points', { figure: 'beacons', cdn, by: 'cdn', from, until }),
    events(from, until),
  ]);
  const by = new Map();
  for (const { label, value } of countries.totals) by.set(label.toUpperCase(), (by.get(label.toUpperCase()) || 0) + value);
  const length = Math.max(1, Math.ceil((until - lines.from) / lines.step));
  const colours = ['--a', '--b', '--c', '--d', '--e', '--f'];
  const drawn = lines.series.map((series, n) => {
    const values = new Array(length).fill(null);
    for (const [at, value] of series.points) values[Math.floor((at - lines.from) / lines.step)] = value * 60 / lines.step;
    return { name: series.cdn, values, colour: colours[n % colours.length], dash: n >= colours.length };
  });
  return [
    el('h1', {}, cdn ? `Beacons of ${cdn}` : 'Beacons'),
    map(by),
    drawn.length
      ? graph('Beacons a minute', { from: lines.from, width: lines.step }, drawn, { say: count, events: happened, range: { from, until } })
      : el('p', { class: 'quiet' }, 'No data'),
    el('div', { class: 'tables' },
      table('By source', ['Source', 'Provider', 'Beacons'], sources.totals.map(({ cdn: name, label, value }) => [label, name, count(value)])),
      table('By country', ['Country', 'Beacons'], [...by].sort((a, b) => b[1] - a[1]).map(([code, value]) => [country(code), count(value)]))),
  ];
}
