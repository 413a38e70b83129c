// What a browser sees of our site, for its user to paste. A probe tells what CORS and Timing-Allow-Origin let a page see.

import { el } from './page.js';
import { write } from './block.js';

const PATIENCE = 10000;

// Who answered, by headers that a vendor's documentation names.
function provider(header, timing) {
  if (timing.cdn) return timing.cdn;
  if (header('cf-ray')) return 'cloudflare';
  if (header('x-amz-cf-pop') || header('x-amz-cf-id')) return 'cloudfront';
  if (/^BunnyCDN/i.test(header('server') || '')) return 'bunny';
  if (/^cache-/.test(header('x-served-by') || '')) return 'fastly';
  if (/akamai/i.test(header('server') || '') || header('x-akamai-request-id')) return 'akamai';
  return null;
}

function pop(header, timing) {
  return timing.pop
    || header('cf-ray')?.split('-')[1]
    || header('x-amz-cf-pop')
    || header('x-served-by')?.split(',').at(-1).trim()
    || header('server')?.match(/^BunnyCDN-(\w+)/i)?.[1]
    || null;
}

const cache = (header, timing) => timing['cdn-cache'] || timing.cache || header('cf-cache-status') || header('x-cache')
  || header('cdn-cache') || header('cache-status') || null;

const id = (header) => header('x-request-id') || header('cf-ray') || header('x-amz-cf-id') || header('x-akamai-request-id')
  || header('cdn-requestid') || null;

// Server-Timing (W3C) as name and description.
function timings(text) {
  const found = {};
  for (const metric of (text || '').split(',')) {
    const [name, ...parameters] = metric.trim().split(';');
    const desc = parameters.map((one) => one.trim()).find((one) => /^desc=/i.test(one));
    if (name && desc) found[name.trim().toLowerCase()] = desc.slice(5).replace(/^"|"$/g, '');
  }
  return found;
}

async function probe({ class: kind, url }) {
  // The browser's own cache is passed by, so that the CDN is seen.
  const options = { cache: 'no-store', credentials: 'omit', signal: AbortSignal.timeout(PATIENCE) };
  const began = performance.now();
  const told = { class: kind };
  try {
    const response = await fetch(url, options);
    await response.arrayBuffer();
    const header = (name) => response.headers.get(name);
    const entry = performance.getEntriesByName(new URL(url, location.href).href).at(-1);
    const timing = timings(header('server-timing'));
    for (const metric of entry?.serverTiming || []) timing[metric.name.toLowerCase()] ||= metric.description;
    Object.assign(told, {
      status: response.status, provider: provider(header, timing) || 'unknown', pop: pop(header, timing) || 'unknown',
      cache: cache(header, timing) || 'unknown', id: id(header),
      first: entry?.responseStart > 0 ? `${Math.round(entry.responseStart - entry.startTime)}ms` : null,
    });
  } catch (error) {
    told.status = await fetch(url, { ...options, mode: 'no-cors', signal: AbortSignal.timeout(PATIENCE) })
      .then(() => 'reached, but it tells pages nothing (CORS)', () => (error.name === 'TimeoutError' ? 'timeout' : 'not reached'));
  }
  told.total = `${Math.round(performance.now() - began)}ms`;
  return told;
}

function copy(text, said) {
  const done = () => { said.textContent = 'Copied'; };
  const byHand = () => {
    getSelection().selectAllChildren(document.getElementById('block'));
    said.textContent = 'Press Ctrl+C to copy what is marked';
  };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, byHand);
  else if (byHand() === undefined && document.execCommand('copy')) done();
}

const place = document.getElementById('found');
try {
  const told = await (await fetch('/api/support')).json();
  const found = { ...told, probes: await Promise.all(told.probes.map(probe)) };
  const text = write(found);
  const said = el('span', { role: 'status', id: 'copied' });
  const row = (name, value) => [el('dt', {}, name), el('dd', {}, value)];
  place.replaceChildren(
    el('p', {}, el('button', { type: 'button', id: 'copy', onclick: () => copy(text, said) }, 'Copy'), ' ', said),
    el('pre', { class: 'block', id: 'block' }, text),
    el('dl', {},
      row('Your address, as we see it', told.client),
      row('Your DNS resolver', told.resolver || 'unknown: only a name server of ours could see it'),
      found.probes.map((one) => row(one.class, [one.provider, one.pop, one.cache, one.status, one.total].filter(Boolean).join(', '))),
      found.probes.length ? null : row('Content', 'no probes are configured')));
} catch (error) {
  place.replaceChildren(el('p', { class: 'failed', role: 'alert' }, `This page could not look: ${error.message}`));
}
