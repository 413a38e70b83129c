// One provider: every figure over time, beside last week where asked.

import { el, table } from './page.js';
import { get, events } from './api.js';
import { WEEK } from './state.js';
import { graph } from './graph.js';
import { count, percent, seconds } from './figures.js';

const GRAPHS = [
  ['Pulls a minute', count, [['pulls', 'pulls', '--a']]],
  ['Edge requests a minute', count, [['edge_requests', 'edge requests', '--a']]],
  ['Offload and hit ratio', percent, [['offload', 'offload', '--a'], ['byte_offload', 'byte offload', '--b'], ['hit_ratio', 'hit ratio', '--c']]],
  ['5xx', percent, [['errors', 'of pulls', '--a'], ['edge_errors', 'at the edge', '--b']]],
  ['Origin: first byte', seconds, [['origin_p50', 'p50', '--a'], ['origin_p95', 'p95', '--b']]],
  ['Users: first byte', seconds, [['user_p50', 'p50', '--a'], ['user_p95', 'p95', '--b']]],
  ['Whoopsies a minute', count, [['whoopsies', 'whoopsies', '--a']]],
  ['Beacons a minute', count, [['beacons', 'beacons', '--a']]],
];

async function totals(figure, cdn, from, until) {
  const told = await get('/api/totals', { figure, cdn, from, until });
  return told.totals.map(({ label, value }) => [label || 'all', count(value)]);
}

export async function provider({ cdn, from, until, compare }) {
  if (!cdn) return [el('p', { class: 'quiet' }, 'Choose a provider on the overview.')];
  const [now, before, happened, sources, reasons, properties] = await Promise.all([
    get('/api/measures', { cdn, from, until }),
    compare ? get('/api/measures', { cdn, from: from - WEEK, until: until - WEEK }) : null,
    events(from, until),
    totals('beacons', cdn, from, until),
    totals('whoopsies', cdn, from, until),
    totals('edge_requests', cdn, from, until),
  ]);
  const graphs = GRAPHS.map(([title, say, shown]) => {
    const lines = shown.flatMap(([measure, name, colour]) => {
      const line = { name, values: now.lines[measure], colour };
      if (!before) return [line];
      const values = now.lines[measure].map((_, n) => before.lines[measure][n] ?? null);
      return [line, { name: `${name}, week before`, values, colour, dash: true }];
    });
    return graph(title, now, lines, { say, events: happened, range: { from, until } });
  });
  return [
    el('h1', {}, cdn),
    el('div', { class: 'graphs' }, graphs),
    el('div', { class: 'tables' },
      table('Beacons by source', ['Source', 'Beacons'], sources),
      table('Whoopsies by reason', ['Reason', 'Whoopsies'], reasons),
      table('Edge requests by property', ['Property', 'Requests'], properties)),
  ];
}
