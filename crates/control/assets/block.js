// The text that goes from a member of the public to support staff: lines of `name: value`, and a code over them.

const [HEAD, TAIL] = ['=== support ===', '=== end ==='];

// FNV-1a (draft-eastlake-fnv), 32 bits. It tells a text that was cut or changed on its way, not one that was forged.
function code(lines) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(lines.join('\n'))) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  const text = hash.toString(16).padStart(8, '0');
  return `${text.slice(0, 4)}-${text.slice(4)}`;
}

// A value on one line, of a length that a mail leaves alone, without what parts fields.
const plain = (value) => String(value).replace(/[\s|]+/g, ' ').trim().slice(0, 120);

export function write(found) {
  const lines = [
    `at: ${new Date(found.at * 1000).toISOString()}`,
    `client: ${plain(found.client)}`,
    `resolver: ${plain(found.resolver || 'unknown')}`,
    `request: ${plain(found.request_id)}`,
    ...found.probes.map((probe) => `probe: ${Object.entries(probe).filter(([, value]) => value != null && value !== '')
      .map(([name, value]) => `${name}=${plain(value)}`).join(' | ')}`),
  ];
  return [HEAD, ...lines, `code: ${code(lines)}`, TAIL].join('\n');
}

// What a pasted text says; null where it holds no block. Quoting marks of mails are taken off.
export function read(text) {
  const lines = text.split(/\r?\n/).map((line) => line.replace(/^[>\s]+/, '').trimEnd()).filter(Boolean);
  const [first, last] = [lines.indexOf(HEAD), lines.indexOf(TAIL)];
  if (first < 0 || last < first) return null;
  const said = lines.slice(first + 1, last);
  const of = (name) => said.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? null;
  const probes = said.filter((line) => line.startsWith('probe: ')).map((line) =>
    Object.fromEntries(line.slice(7).split(' | ').map((field) => {
      const at = field.indexOf('=');
      return [field.slice(0, at), field.slice(at + 1)];
    })));
  return {
    at: of('at'), client: of('client'), resolver: of('resolver'), request: of('request'), code: of('code'), probes,
    whole: of('code') === code(said.filter((line) => !line.startsWith('code: '))),
  };
}
