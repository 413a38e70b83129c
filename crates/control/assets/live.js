// The newest minute as it comes. A page that shows the time up to now is drawn again with it, but not while somebody
// types in it or points at a graph.

import { el } from './page.js';
import { state } from './state.js';
import { time } from './figures.js';

const SELDOM = 5000;

export function listen(draw) {
  const said = el('span', { id: 'live', role: 'status' }, 'not live');
  const source = new EventSource('/api/live');
  let last = 0;
  source.addEventListener('minute', (event) => {
    const { at } = JSON.parse(event.data);
    said.textContent = at ? `live, ${time(at).slice(11)}` : 'live, no data';
    said.className = 'on';
    if (state().range && Date.now() - last > SELDOM && !document.querySelector('#add :focus, .plot:hover')) {
      last = Date.now();
      draw();
    }
  });
  source.onerror = () => {
    said.textContent = 'not live';
    said.className = '';
  };
  addEventListener('pagehide', () => source.close());
  return said;
}
