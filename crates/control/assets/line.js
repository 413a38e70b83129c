// A small line, with the events of its time. A gap is where nothing is known.

import { svg } from './page.js';

export function smallLine(values, { from, width }, events = []) {
  const known = values.filter((value) => value != null);
  if (!known.length) return null;
  const [low, high] = [Math.min(0, ...known), Math.max(...known)];
  const height = (value) => 19 - 18 * (high > low ? (value - low) / (high - low) : 0);
  let path = '';
  values.forEach((value, n) => {
    if (value == null) return;
    const starts = n === 0 || values[n - 1] == null;
    path += `${starts ? 'M' : 'L'}${n} ${height(value).toFixed(1)}`;
    if (starts && (n + 1 === values.length || values[n + 1] == null)) path += 'h0.9';
  });
  const last = values.length - 1;
  const places = events.map((event) => (event.at - from) / width - 0.5).filter((place) => place >= 0 && place <= last);
  return svg('svg', { class: 'line', viewBox: `0 0 ${last} 20`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    places.map((place) => svg('path', { class: 'event', d: `M${place.toFixed(2)} 0V20` })),
    svg('path', { class: 'value', d: path }));
}
