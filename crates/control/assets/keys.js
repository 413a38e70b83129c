// Keys. They do nothing while somebody types, nor with Ctrl, Alt or Meta.

import { el } from './page.js';
import { go, shift, widen, state, RANGES } from './state.js';

export function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  localStorage.setItem('theme', root.dataset.theme);
  dispatchEvent(new Event('state'));
}

// Moves over the rows of the overview, whose links Enter follows.
function step(by) {
  const links = [...document.querySelectorAll('#providers th a')];
  const at = links.indexOf(document.activeElement);
  links[Math.max(0, Math.min(links.length - 1, at < 0 ? 0 : at + by))]?.focus();
}

const next = (by) => {
  const at = RANGES.indexOf(state().range ?? '1h') + by;
  if (RANGES[at]) go({ range: RANGES[at], from: null, until: null });
};

const help = () => document.getElementById('help');

const KEYS = {
  o: ['overview', () => go({ cdn: null }, '/')],
  b: ['beacons', () => go({}, '/beacons')],
  e: ['events', () => go({}, '/events')],
  j: ['next provider; Enter opens it', () => step(1)],
  k: ['provider before', () => step(-1)],
  '+': ['shorter time', () => next(-1)],
  '-': ['longer time', () => next(1)],
  '[': ['back by half', () => shift(-0.5)],
  ']': ['forth by half', () => shift(0.5)],
  z: ['twice the time, about the same middle', widen],
  c: ['compare with last week', () => go({ compare: state().compare ? null : 'week' })],
  t: ['dark or light', toggleTheme],
  '?': ['these keys', () => (help().open ? help().close() : help().showModal())],
};

export function listenToKeys() {
  help().append(
    el('h2', {}, 'Keys'),
    el('dl', {}, Object.entries(KEYS).map(([key, [does]]) => [el('dt', {}, el('kbd', {}, key)), el('dd', {}, does)])),
    el('form', { method: 'dialog' }, el('button', {}, 'Close')));
  addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest?.('input, textarea, select')) return;
    if (!KEYS[event.key] || (help().open && event.key !== '?')) return;
    event.preventDefault();
    KEYS[event.key][1]();
  });
}
