// Is it us, or is it one of them? One row for each provider.

import { el, table } from './page.js';
import { get, events } from './api.js';
import { link } from './state.js';
import { smallLine } from './line.js';
import { count, percent, seconds, departure, time, NONE } from './figures.js';

const rate = (value) => (value == null ? NONE : `${count(value)}/min`);

// What a column shows of a row: the first text, a second, whose line, and what counts as worse.
const COLUMNS = [
  ['Pulls', (row) => [percent(row.pulls.share), rate(row.pulls.value), row.pulls, rate, 'down']],
  ['Edge requests', (row) => [percent(row.edge_requests.share), rate(row.edge_requests.value), row.edge_requests, rate, 'down']],
  ['Users', (row) => [percent(row.users.share), rate(row.users.value), row.users, rate, 'down']],
  ['Offload', (row) => [percent(row.offload.value), `bytes ${percent(row.byte_offload.value)}, hits ${percent(row.hit_ratio.value)}`, row.offload, percent, 'down']],
  ['Origin p50 / p95', (row) => [`${seconds(row.origin_p50.value)} / ${seconds(row.origin_p95.value)}`, null, row.origin_p95, seconds, 'up']],
  ['Users p50 / p95', (row) => [`${seconds(row.user_p50.value)} / ${seconds(row.user_p95.value)}`, null, row.user_p95, seconds, 'up']],
  ['5xx of pulls', (row) => [percent(row.errors.value), null, row.errors, percent, 'up']],
  ['5xx at the edge', (row) => [percent(row.edge_errors.value), null, row.edge_errors, percent, 'up']],
  ['Whoopsies', (row) => [rate(row.whoopsies.value), null, row.whoopsies, rate, 'up']],
  ['Beacons', (row) => [rate(row.beacons.value), null, row.beacons, rate, 'up']],
];

function cell([name, show], row, line, happened) {
  const [first, second, figure, say, bad] = show(row);
  const from = departure(figure, say, bad);
  const without = figure.value == null && first.split(' / ').every((part) => part === NONE);
  return el('td', { 'data-label': name, class: from?.loud ? 'departs' : null },
    el('span', { class: 'value' }, without ? 'no data' : first),
    second && !without ? el('span', { class: 'second' }, second) : null,
    smallLine(figure.line, line, happened),
    from ? el('span', { class: 'normal' }, from.text) : null);
}

// What departs minute by minute now, whatever time is shown; the sentence on top counts what of it falls into that time.
const SAY = { pulls: rate, edge_requests: rate, beacons: rate, whoopsies: rate, origin_p95: seconds,
  errors: percent, edge_errors: percent, offload: percent };
const TITLES = { pulls: 'pulls', edge_requests: 'users’ requests', beacons: 'beacons', whoopsies: 'whoopsies', origin_p95: 'origin p95',
  errors: '5xx of pulls', edge_errors: '5xx of users’ requests', offload: 'offload' };

function departures({ judged, anomalies }, blame) {
  const upTo = judged ? `, as of ${time(judged)}` : '';
  if (anomalies.length) {
    const rows = anomalies.map(({ cdn, figure, since, now, expected, reason }) => {
      const say = SAY[figure] || count;
      return [cdn === 'all' ? 'all providers' : el('a', { href: link({ cdn }, '/provider') }, cdn),
        TITLES[figure] || figure, time(since), say(now), say(expected), reason];
    });
    return el('div', { id: 'departures' }, table(`Departs from normal now${upTo}`, ['Provider', 'Figure', 'Since', 'Now', 'Expected', 'Why'], rows));
  }
  const calm = ['nobody', 'no_data'].includes(blame);
  const said = judged
    ? `Nothing departs from normal${upTo}, minute by minute${calm ? '' : '. The sentence on top is of all the time shown'}.`
    : 'Nothing was judged minute by minute yet.';
  return el('section', { id: 'departures' }, el('h2', {}, 'Departs from normal now'), el('p', { class: 'quiet' }, said));
}

export async function overview({ from, until }) {
  const told = await get('/api/overview', { from, until });
  const happened = await events(told.line.from, until);
  const { verdict, newest } = told;
  const rows = told.providers.map((row) =>
    el('tr', { class: verdict.providers.includes(row.cdn) ? 'blamed' : null },
      el('th', { scope: 'row' }, el('a', { href: link({ cdn: row.cdn }, '/provider') }, row.cdn)),
      COLUMNS.map((column) => cell(column, row, told.line, happened))));
  const newestOf = (name, at) => `${name} ${at ? `up to ${time(at)}` : 'no data'}`;
  return [
    el('p', { id: 'verdict', class: verdict.blame, role: 'status' }, verdict.text),
    rows.length
      ? el('table', { id: 'providers' },
        el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'Provider'), COLUMNS.map(([name]) => el('th', { scope: 'col' }, name)))),
        el('tbody', {}, rows))
      : el('p', { class: 'quiet' }, 'No provider is configured, and nobody pulled.'),
    el('p', { class: 'quiet' }, `${newestOf('Pulls', newest.pulls)}; edge ${newest.edge ? `up to ${time(newest.edge)}` : 'no data'}. `
      + 'Shares are of pulls, of users’ requests and of measured users: three numbers that differ. '
      + 'Normal is the median of the same time on seven days before.'),
    departures(told.departures, verdict.blame),
  ];
}
