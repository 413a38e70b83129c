// What happened, and who changed what.

import { el, table } from './page.js';
import { get, post, token, events as happened } from './api.js';
import { time } from './figures.js';

function form() {
  const text = el('input', { id: 'text', required: true, maxlength: 200, placeholder: 'deploy 3f2a' });
  const tag = el('input', { id: 'tag', maxlength: 40, placeholder: 'deploy' });
  const key = el('input', { id: 'token', type: 'password', autocomplete: 'off', value: token.get(), placeholder: 'only where one is configured' });
  const said = el('p', { id: 'said', role: 'status' });
  const submit = async (event) => {
    event.preventDefault();
    token.set(key.value);
    try {
      await post('/api/events', { text: text.value, tag: tag.value, who: 'dashboard' });
      dispatchEvent(new Event('state'));
    } catch (error) {
      said.textContent = error.message;
    }
  };
  return el('form', { id: 'add', onsubmit: submit },
    el('label', {}, 'What happened', text), el('label', {}, 'Tag', tag), el('label', {}, 'Token', key),
    el('button', {}, 'Add'), said);
}

export async function eventsPage({ from, until }) {
  const [all, audit] = await Promise.all([happened(from, until + 60), get('/api/audit')]);
  return [
    el('h1', {}, 'Events'),
    form(),
    table('In this time', ['When', 'Kind', 'Tag', 'What', 'Who'], all.map((event) => [time(event.at), event.kind, event.tag, event.text, event.who])),
    table('Changes', ['When', 'Who', 'What', 'To'], audit.changes.map((change) => [time(change.at), change.who, change.what, change.detail])),
  ];
}
