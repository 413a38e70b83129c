// Figures as people read them. What is unknown is a dash, and never 0.

export const NONE = '–';

const digits = (value, most) => value.toLocaleString('en', { maximumFractionDigits: most });

export function count(value) {
  if (value == null) return NONE;
  const size = Math.abs(value);
  if (size >= 1e9) return `${digits(value / 1e9, 1)} G`;
  if (size >= 1e6) return `${digits(value / 1e6, 1)} M`;
  if (size >= 1e4) return `${digits(value / 1e3, 1)} k`;
  return digits(value, size < 10 ? 1 : 0);
}

export const percent = (value) => (value == null ? NONE : `${digits(value * 100, Math.abs(value) < 0.1 ? 2 : 1)} %`);

export function seconds(value) {
  if (value == null) return NONE;
  return value < 1 ? `${digits(value * 1000, value < 0.01 ? 1 : 0)} ms` : `${digits(value, 2)} s`;
}

export const time = (at) => new Date(at * 1000).toLocaleString('sv').slice(0, 16);

// How far from normal, in the figure's own unit; loud from four deviations on.
export function departure(cell, say, bad) {
  if (cell.departure == null || cell.value == null) return null;
  const loud = Math.abs(cell.departure) >= 4;
  const arrow = cell.value > cell.normal ? '▲' : cell.value < cell.normal ? '▼' : '=';
  const worse = bad === 'up' ? cell.departure > 0 : bad === 'down' ? cell.departure < 0 : true;
  return { loud: loud && worse, text: `${arrow} normal ${say(cell.normal)}` };
}
