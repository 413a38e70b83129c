// Elements. All text goes in as text, whoever wrote it.

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value != null) node.setAttribute(name, String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return node;
}

export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);

// A table of rows of cells; a cell is a text or an element.
export function table(caption, heads, rows) {
  if (!rows.length) return el('section', {}, el('h2', {}, caption), el('p', { class: 'quiet' }, 'No data'));
  return el('section', {},
    el('h2', {}, caption),
    el('table', { class: 'list' },
      el('thead', {}, el('tr', {}, heads.map((head) => el('th', { scope: 'col' }, head)))),
      el('tbody', {}, rows.map((cells) => el('tr', {}, cells.map((cell, index) =>
        el('td', { 'data-label': heads[index], class: typeof cell === 'string' && /^[-\d.,]+( [%kMG])?$/.test(cell) ? 'number' : null }, cell)))))));
}
