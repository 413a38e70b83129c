// A pasted block, explained.

import { el, table } from './page.js';
import { read } from './block.js';

function explain(probe) {
  const said = [];
  if (/^5/.test(probe.status)) said.push(/hit/i.test(probe.cache || '') ? 'an error that the CDN keeps' : 'an error: ours, or the CDN’s on the way to us');
  else if (/^4/.test(probe.status)) said.push('the probe’s URL is refused or gone');
  else if (/^2/.test(probe.status)) said.push('served');
  else if (/CORS/.test(probe.status)) said.push('reached; let the probe send Access-Control-Allow-Origin, Access-Control-Expose-Headers and Timing-Allow-Origin to see more');
  else said.push('the member cannot reach it: DNS, network, or a filter on the way');
  if (/miss/i.test(probe.cache || '')) said.push('not from a cache, so it came from the origin');
  if (parseInt(probe.total, 10) > 2000) said.push('slow');
  return said.join('; ');
}

const place = document.getElementById('read');
document.getElementById('block').addEventListener('input', (event) => {
  const told = read(event.target.value);
  if (!event.target.value.trim()) return place.replaceChildren();
  if (!told) return place.replaceChildren(el('p', { class: 'failed' }, 'This holds no whole block, from "=== support ===" to "=== end ===".'));
  const age = Math.round((Date.now() - Date.parse(told.at)) / 60000);
  place.replaceChildren(
    el('p', { id: 'whole', class: told.whole ? 'quiet' : 'failed' }, told.whole
      ? `The code ${told.code} fits: nothing was changed on the way.`
      : 'The code does not fit: something was cut or changed on the way.'),
    el('dl', {},
      el('dt', {}, 'When'), el('dd', {}, Number.isFinite(age) ? `${told.at} (${age} minutes ago)` : String(told.at)),
      el('dt', {}, 'Address'), el('dd', {}, told.client || 'unknown'),
      el('dt', {}, 'Resolver'), el('dd', {}, told.resolver === 'unknown' ? 'unknown (no name server of ours takes part)' : String(told.resolver)),
      el('dt', {}, 'Request id'), el('dd', {}, told.request || 'unknown')),
    table('What the member got', ['Class', 'Provider', 'POP', 'Cache', 'Status', 'First byte', 'Whole', 'Id', 'Meaning'],
      told.probes.map((probe) => [probe.class, probe.provider || '–', probe.pop || '–', probe.cache || '–', probe.status || '–',
        probe.first || '–', probe.total || '–', probe.id || '–', explain(probe)])));
});
