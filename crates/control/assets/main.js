// The page that the URL names, drawn again whenever what is looked at changes.

import { el } from './page.js';
import { state, go, link, RANGES } from './state.js';
import { overview } from './overview.js';
import { provider } from './provider.js';
import { beacons } from './beacons.js';
import { eventsPage } from './events.js';
import { listenToKeys, toggleTheme } from './keys.js';
import { listen } from './live.js';
import { forgetGraphs } from './graph.js';

const PAGES = { '/': overview, '/provider': provider, '/beacons': beacons, '/events': eventsPage };
const [top, main] = [document.getElementById('top'), document.getElementById('main')];
let turn = 0;

// The answer that was asked for last is drawn, whichever comes first.
async function draw() {
  const mine = ++turn;
  const now = state();
  drawTop(now);
  document.title = now.path === '/provider' && now.cdn ? `${now.cdn} - Headwater` : 'Headwater';
  main.setAttribute('aria-busy', 'true');
  let parts;
  try {
    parts = await (PAGES[now.path] || overview)(now);
  } catch (error) {
    parts = [el('p', { class: 'failed', role: 'alert' }, `The control plane does not answer: ${error.message}`)];
  }
  if (mine !== turn) return;
  const focused = document.activeElement?.closest?.('#main a')?.getAttribute('href');
  main.replaceChildren(...parts);
  forgetGraphs();
  if (focused) [...main.querySelectorAll('a')].find((a) => a.getAttribute('href') === focused)?.focus();
  main.removeAttribute('aria-busy');
  main.dataset.drawn = String(mine);
}

const live = listen(draw);

function drawTop(now) {
  const page = (path, name) => el('a', { href: link(path === '/' ? { cdn: null } : {}, path), 'aria-current': now.path === path ? 'page' : null }, name);
  const range = (name) => el('a', { href: link({ range: name, from: null, until: null }), 'aria-current': now.range === name ? 'true' : null }, name);
  top.replaceChildren(
    el('nav', { 'aria-label': 'Pages' }, page('/', 'Overview'), now.path === '/provider' ? page('/provider', now.cdn) : null,
      page('/beacons', 'Beacons'), page('/events', 'Events')),
    el('nav', { 'aria-label': 'Time' }, RANGES.map(range),
      now.range ? null : el('span', { class: 'zoomed' }, 'zoomed')),
    el('span', { class: 'tools' },
      el('button', { type: 'button', id: 'compare', 'aria-pressed': String(now.compare), onclick: () => go({ compare: now.compare ? null : 'week' }) }, 'Last week'),
      el('button', { type: 'button', id: 'theme', onclick: toggleTheme }, 'Dark / light'),
      el('span', { class: 'quiet' }, el('kbd', {}, '?'), ' keys'),
      live));
}

// Links within the dashboard change what is looked at without loading it all again.
addEventListener('click', (event) => {
  const a = event.target.closest?.('a[href]');
  if (!a || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const url = new URL(a.href);
  if (url.origin !== location.origin || !PAGES[url.pathname]) return;
  event.preventDefault();
  history.pushState(null, '', url);
  draw();
});
addEventListener('popstate', draw);
addEventListener('state', draw);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
listenToKeys();
draw();
