// A look at a docker-compose.yaml while it is typed. Not a parser: it finds what people get wrong, by line,
// and the facts the form needs. The guest's docker compose has the last word.

// Keys of a service that are followed by a space and a value, or by a block.
const KEYS = /^(image|ports|volumes|environment|command|entrypoint|restart|depends_on|networks|build|expose|env_file|user|privileged|working_dir|labels|healthcheck|container_name|hostname|configs|secrets|services):\S/;
const QUOTED = /^(?:'(?:[^']|'')*'|"(?:[^"\\]|\\.)*")\s*(?:#.*)?$/;

const indentOf = (line) => /^ */.exec(line)[0].length;

// Mappings that are open at a line, from the outside in.
class Nest {
  constructor() { this.levels = []; }

  // Moves to a line's indentation; false where no level has it.
  enter(indent, line) {
    let closed = false;
    while (this.levels.length > 0 && this.levels[this.levels.length - 1].indent > indent) {
      this.levels.pop();
      closed = true;
    }
    const top = this.levels[this.levels.length - 1];
    if (top && top.indent === indent) return true;
    this.levels.push({ indent, keys: new Map(), line, last: null });
    return !closed;
  }

  // What leads here: keys of the levels around.
  path() { return this.levels.slice(0, -1).map((level) => level.last); }

  get top() { return this.levels[this.levels.length - 1]; }
}

const bare = (value) => value.replace(/\s+#.*$/, '').trim().replace(/^(['"])(.*)\1$/, '$2');

function portOf(text) {
  const match = /^(?:(?:\[[^\]]+\]|[\d.]+):)?(?:(\d+)(?:-\d+)?:)?(\d+)(?:\/(tcp|udp))?$/.exec(text);
  if (!match) return null;
  const port = { host: Number(match[1] || match[2]), vm: Number(match[1] || match[2]), protocol: match[3] || 'tcp' };
  return port.vm >= 1 && port.vm <= 65535 ? port : null;
}

/// What is in a compose file: `{problems: [{line, level, text}], services: [{name, image}], ports: [{protocol,
/// vm}], variables: [name]}`. Lines count from 1; a level is `error` or `note`.
export function inspect(text) {
  const problems = [];
  const services = new Map();
  const ports = [];
  const variables = new Set();
  const nest = new Nest();
  const add = (line, level, what) => problems.push({ line, level, text: what });
  let block = null;
  let hasServices = false;

  text.split('\n').forEach((raw, i) => {
    const line = i + 1;
    for (const match of raw.matchAll(/(?<!\$)\$\{?([A-Za-z_][A-Za-z0-9_]*)/g)) variables.add(match[1]);
    const indent = indentOf(raw);
    const content = raw.trim();
    if (block !== null) {
      if (content === '' || indent > block) return;
      block = null;
    }
    if (content === '' || content.startsWith('#') || content === '---') return;
    if (/^ *\t/.test(raw)) { add(line, 'error', 'a tab in the indentation: YAML takes spaces only'); return; }

    // "- key: value" opens a mapping two columns further in.
    let at = indent;
    let rest = content;
    let item = false;
    while (/^-(\s+|$)/.test(rest)) {
      const dash = /^-\s*/.exec(rest)[0].length;
      item = true;
      rest = rest.slice(dash);
      at += dash;
    }
    if (item) {
      nest.enter(indent, line);
      while (nest.levels.length > 0 && nest.top.indent > indent) nest.levels.pop();
      const names = nest.levels.map((level) => level.last);
      if (names[0] === 'services' && names.includes('ports') && !rest.includes(': ')) {
        const port = portOf(bare(rest));
        if (port) ports.push({ protocol: port.protocol, vm: port.vm });
      }
    }
    if (rest === '' || rest.startsWith('#')) return;
    const pair = /^("[^"]*"|'[^']*'|[^\s#'"{[][^#]*?)\s*:(?:\s+(.*))?$/.exec(rest);
    const scalar = pair ? pair[2] || '' : rest;
    if (/^['"]/.test(scalar) && !QUOTED.test(scalar)) add(line, 'error', 'a quotation mark without its partner');
    if (!pair) {
      if (!item && KEYS.test(rest)) add(line, 'error', `a space is missing after ${rest.slice(0, rest.indexOf(':') + 1)}`);
      else if (!item && nest.levels.length <= 1 && !/^[{[\]}]/.test(rest)) add(line, 'error', 'neither "key: value" nor "- item"');
      return;
    }
    if (item) {
      // A mapping in a list starts anew with each item.
      while (nest.levels.length > 0 && nest.top.indent >= at) nest.levels.pop();
    }
    if (!nest.enter(at, line)) add(line, 'error', 'indented differently from the lines it belongs to');
    const key = bare(pair[1]);
    const value = bare(pair[2] || '');
    const before = nest.top.keys.get(key);
    if (before && key !== '<<') add(line, 'error', `"${key}" again; line ${before} has it already`);
    nest.top.keys.set(key, line);
    nest.top.last = key;
    if (/^[|>][+-]?\d?$/.test(value)) block = at;

    const path = nest.path();
    if (at === 0 && key === 'services') hasServices = true;
    if (path.length === 1 && path[0] === 'services') services.set(key, { name: key, image: '', line });
    if (path.length !== 2 || path[0] !== 'services' || !services.has(path[1])) return;
    const service = services.get(path[1]);
    if (key === 'image') {
      service.image = value;
      if (!/@sha256:[0-9a-f]{64}$/.test(value) && !value.includes('$')) {
        add(line, 'note', `${service.name}: ${value || 'the image'} is not pinned; name it by @sha256:… so that what is measured is what runs`);
      }
    }
    if (key === 'build') add(line, 'error', `${service.name}: the VM has nothing to build from; push the image to a registry and name it by digest`);
    if (key === 'env_file') add(line, 'note', `${service.name}: the VM has no such file; use the encrypted environment`);
    if (key === 'ports') for (const one of value.replace(/^\[|\]$/g, '').split(',')) {
      const port = portOf(bare(one.trim()));
      if (port) ports.push({ protocol: port.protocol, vm: port.vm });
    }
  });

  if (text.trim() !== '' && !hasServices) add(1, 'error', 'no "services:" at the start of a line');
  if (hasServices && services.size === 0) add(1, 'error', '"services:" names no service');
  return { problems: problems.sort((a, b) => a.line - b.line), services: [...services.values()], ports, variables: [...variables].sort() };
}
