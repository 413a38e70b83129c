// The control plane's API. An error has the server's words in it.

async function answer(response) {
  const text = await response.text();
  let told = null;
  try { told = JSON.parse(text); } catch { /* a text is an error's */ }
  if (!response.ok) throw new Error((told && told.error) || text.trim() || `HTTP ${response.status}`);
  return told;
}

export async function get(path, parameters = {}) {
  const kept = Object.entries(parameters).filter(([, value]) => value != null && value !== '');
  return answer(await fetch(`${path}?${new URLSearchParams(kept)}`));
}

// What changes something needs the token, which is kept until this tab is closed.
export const token = {
  get: () => sessionStorage.getItem('token') || '',
  set: (text) => (text ? sessionStorage.setItem('token', text) : sessionStorage.removeItem('token')),
};

export async function post(path, body) {
  const headers = { 'Content-Type': 'application/json' };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  return answer(await fetch(path, { method: 'POST', headers, body: JSON.stringify(body) }));
}

// Events are lines on graphs; without them a graph still says what it says.
export async function events(from, until) {
  try { return (await get('/api/events', { from, until })).events; } catch { return []; }
}
