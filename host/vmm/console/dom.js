// Descriptions of elements, and a page that follows them. Whatever a guest, a registry or an operator wrote
// reaches the page as text nodes and attributes, never as markup.

const SVG = 'http://www.w3.org/2000/svg';
const DRAWN = new Set(['svg', 'path', 'line', 'g', 'circle', 'rect', 'title', 'polyline']);
// What a person may have changed since: compared with the element, not with the last description.
const HELD = new Set(['value', 'checked']);

/// Describes an element. `key` names it among its siblings; `live` leaves its children to whoever `mount`
/// handed it to; `on` are listeners by event; the rest are attributes.
export function h(tag, props, ...children) {
  const { key = null, live = false, on = null, mount = null, ...attributes } = props || {};
  return { tag, key, live, on, mount, attributes, children };
}

const flat = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== '');

function make(node) {
  if (typeof node !== 'object') return document.createTextNode(String(node));
  const element = DRAWN.has(node.tag) ? document.createElementNS(SVG, node.tag) : document.createElement(node.tag);
  element.described = { key: node.key, attributes: {}, on: {}, bound: new Set() };
  // Whether it starts open is said once; from then on it is the reader's.
  if (node.attributes.open) element.open = true;
  update(element, node);
  if (node.mount) node.mount(element);
  return element;
}

function update(element, node) {
  const before = element.described;
  for (const name of Object.keys(before.attributes)) {
    if (!(name in node.attributes)) element.removeAttribute(name);
  }
  for (const [name, value] of Object.entries(node.attributes)) {
    if (name === 'open' || HELD.has(name) || before.attributes[name] === value) continue;
    if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  before.on = node.on || {};
  for (const event of Object.keys(before.on)) {
    if (before.bound.has(event)) continue;
    before.bound.add(event);
    element.addEventListener(event, (happened) => before.on[event]?.(happened));
  }
  before.key = node.key;
  before.attributes = node.attributes;
  if (!node.live) patch(element, node.children);
  // After the children: the value of a <select> is one of its options.
  const { value, checked } = node.attributes;
  if (value !== undefined && element.tagName !== 'OPTION' && element.value !== String(value)) element.value = String(value);
  if (value !== undefined && element.tagName === 'OPTION') element.setAttribute('value', String(value));
  if (checked !== undefined && element.checked !== Boolean(checked)) element.checked = Boolean(checked);
}

/// Makes the children of `parent` follow `nodes`, keeping the elements that are there: an open <details>,
/// the focus, a selection and the scroll position outlive an update.
export function patch(parent, nodes) {
  const keyed = new Map();
  const others = [];
  for (const child of parent.childNodes) {
    const key = child.described ? child.described.key : null;
    if (key !== null) keyed.set(key, child);
    else others.push(child);
  }
  const times = new Map();
  const wanted = flat([nodes]).map((node) => {
    const name = typeof node === 'object' ? node.tag.toLowerCase() : '#text';
    let found = null;
    if (typeof node === 'object' && node.key !== null) {
      const nth = (times.get(node.key) || 0) + 1;
      times.set(node.key, nth);
      if (nth > 1) node.key = `${node.key} again ${nth}`;
      found = keyed.get(node.key) || null;
      if (found && found.nodeName.toLowerCase() === name) keyed.delete(node.key);
      else found = null;
    } else {
      const at = others.findIndex((child) => child.nodeName.toLowerCase() === name && (name === '#text' || child.described));
      if (at >= 0) [found] = others.splice(at, 1);
    }
    return { node, found };
  });
  for (const child of [...keyed.values(), ...others]) child.remove();
  let cursor = parent.firstChild;
  for (const { node, found } of wanted) {
    const child = found || make(node);
    if (found) {
      if (typeof node === 'object') update(found, node);
      else if (found.data !== String(node)) found.data = String(node);
    }
    if (child === cursor) cursor = cursor.nextSibling;
    else parent.insertBefore(child, cursor);
  }
}

/// The element of this id.
export const byId = (id) => document.getElementById(id);
