// What is looked at. All of it stands in the URL, so that a link shows another the same.

const LENGTHS = { '5m': 300, '15m': 900, '1h': 3600, '6h': 21600, '24h': 86400, '7d': 604800, '30d': 2592000, '1y': 31536000 };
export const RANGES = Object.keys(LENGTHS);
export const WEEK = 604800;

export function state() {
  const search = new URLSearchParams(location.search);
  const number = (name) => (/^\d{1,12}$/.test(search.get(name) || '') ? Number(search.get(name)) : null);
  const range = LENGTHS[search.get('range')] ? search.get('range') : '1h';
  const [from, until] = [number('from'), number('until')];
  const fixed = from != null && until != null && from < until;
  const now = Math.floor(Date.now() / 60000) * 60;
  return {
    path: location.pathname,
    cdn: search.get('cdn') || '',
    range: fixed ? null : range,
    from: fixed ? from : now - LENGTHS[range],
    until: fixed ? until : now,
    compare: search.get('compare') === 'week',
  };
}

// The URL that differs by these from the one that is shown; null takes a name out.
export function link(changes, path = location.pathname) {
  const search = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value == null || value === '') search.delete(name);
    else search.set(name, value);
  }
  const text = search.toString();
  return path + (text ? `?${text}` : '');
}

export function go(changes, path) {
  history.pushState(null, '', link(changes, path));
  dispatchEvent(new Event('state'));
}

// A stretch that was drawn with the mouse, or moved to by a key.
export const zoom = (from, until) => go({ from: Math.floor(from), until: Math.ceil(until), range: null });

export function shift(share) {
  const { from, until } = state();
  const by = Math.round((until - from) * share / 60) * 60;
  zoom(from + by, Math.min(until + by, Math.floor(Date.now() / 60000) * 60));
}

export function widen() {
  const { from, until } = state();
  const half = Math.round((until - from) / 120) * 60;
  zoom(Math.max(0, from - half), Math.min(until + half, Math.floor(Date.now() / 60000) * 60));
}
