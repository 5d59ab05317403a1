// The governance page: reads `api/state` every five seconds and shows it. Reads only. Whatever comes from
// the server was written by strangers on a public chain: it reaches the page as text nodes and checked
// links, never as markup.
'use strict';

const POLL = 5000;
const ANSWER_WITHIN = 10000;
const IDLE_CHAIN = 600;

// ---------------------------------------------------------------- elements

// A description of an element. `patch` makes the page follow it, keeping the elements that are there: an
// open <details>, the focus, a selection and the scroll position outlive an update.
function h(tag, props, ...children) {
  const { key = null, live = false, on = null, ...attributes } = props || {};
  return { tag, key, live, on, attributes, children };
}

// Children without what is absent.
const flat = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== '');

function make(node) {
  if (typeof node !== 'object') return document.createTextNode(String(node));
  const element = document.createElement(node.tag);
  element.described = { key: node.key, attributes: {}, on: null };
  // Whether it starts open is said once; from then on it is the reader's.
  if (node.attributes.open) element.open = true;
  update(element, node);
  return element;
}

function update(element, node) {
  const before = element.described;
  for (const name of Object.keys(before.attributes)) {
    if (!(name in node.attributes)) element.removeAttribute(name);
  }
  for (const [name, value] of Object.entries(node.attributes)) {
    if (name === 'open' || before.attributes[name] === value) continue;
    if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  if (node.on && !before.on) {
    for (const event of Object.keys(node.on)) {
      element.addEventListener(event, (happened) => element.described.on[event](happened));
    }
  }
  element.described = { key: node.key, attributes: node.attributes, on: node.on };
  if (!node.live) patch(element, node.children);
}

function patch(parent, nodes) {
  const keyed = new Map();
  const others = [];
  for (const child of parent.childNodes) {
    const key = child.described ? child.described.key : null;
    if (key !== null) keyed.set(key, child);
    else others.push(child);
  }

  const seen = new Map();
  const wanted = flat(nodes).map((node) => {
    const name = typeof node === 'object' ? node.tag.toUpperCase() : '#text';
    let found = null;
    if (typeof node === 'object' && node.key !== null) {
      const times = (seen.get(node.key) || 0) + 1;
      seen.set(node.key, times);
      // Two things of one name are two things all the same.
      if (times > 1) node.key = `${node.key} again ${times}`;
      found = keyed.get(node.key) || null;
      if (found && found.nodeName === name) keyed.delete(node.key);
      else found = null;
    } else {
      const at = others.findIndex((child) => child.nodeName === name && (name === '#text' || child.described));
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

const byId = (id) => document.getElementById(id);

// ---------------------------------------------------------------- values of unknown shape

const list = (value) => (Array.isArray(value) ? value : []);
const object = (value) => (value !== null && typeof value === 'object' && !Array.isArray(value) ? value : {});
const text = (value) => (typeof value === 'string' ? value : typeof value === 'number' || typeof value === 'boolean' ? String(value) : '');
const number = (value) => {
  const n = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof n === 'number' && Number.isFinite(n) ? n : 0;
};
const of = (table, name) => (Object.hasOwn(table, text(name)) ? table[text(name)] : null);
const same = (a, b) => text(a).toLowerCase() === text(b).toLowerCase();
const isHash = (value) => /^(0x)?[0-9a-f]{16,}$/i.test(text(value));
const many = (n, one, more = `${one}s`) => `${n} ${n === 1 ? one : more}`;

function sentenceList(items) {
  if (items.length < 2) return items.join('');
  return `${items.slice(0, -1).join(', ')} and ${items[items.length - 1]}`;
}

// Characters that show nothing, or reorder what stands around them, are shown by their number.
// eslint-disable-next-line no-control-regex
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/gu;
const codePoint = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}`;

function seen(value) {
  const source = text(value);
  const out = [];
  let from = 0;
  for (const match of source.matchAll(UNSEEN)) {
    if (match.index > from) out.push(source.slice(from, match.index));
    out.push(h('span', { class: 'unseen-character', title: 'a character that does not show' }, codePoint(match[0])));
    from = match.index + match[0].length;
  }
  if (from < source.length) out.push(source.slice(from));
  return out;
}

// For attributes, where no element can stand.
const plain = (value, most = 400) => {
  const all = text(value).replace(UNSEEN, (character) => codePoint(character));
  return all.length > most ? `${all.slice(0, most)}…` : all;
};

const cut = (value, most) => {
  const characters = Array.from(text(value));
  return characters.length > most ? `${characters.slice(0, most).join('')}…` : text(value);
};

// One line of a stranger's text, apart from the direction of what stands around it.
const words = (value, most = 160) => h('bdi', {}, seen(cut(value, most)));

// All of a stranger's text; what is long folds.
function prose(value, most = 280) {
  const all = Array.from(text(value));
  if (all.length <= most) return h('bdi', {}, seen(text(value)));
  return h('details', { class: 'fold', key: 'fold' },
    h('summary', {}, h('bdi', {}, seen(all.slice(0, most).join(''))), '… ', h('span', { class: 'more' }, `${(all.length - most).toLocaleString('en')} more characters`)),
    h('p', {}, h('bdi', {}, seen(all.slice(most).join('')))));
}

// Text with the hashes in it short.
function detail(value) {
  const source = text(value);
  if (source.length > 280) return prose(source);
  const out = [];
  let from = 0;
  for (const match of source.matchAll(/0x[0-9a-fA-F]{40,64}\b/g)) {
    if (match.index > from) out.push(h('bdi', {}, seen(source.slice(from, match.index))));
    out.push(hash(match[0], ''));
    from = match.index + match[0].length;
  }
  if (from < source.length) out.push(h('bdi', {}, seen(source.slice(from))));
  return out;
}

function link(value) {
  const source = text(value).trim();
  if (source === '') return null;
  let url = null;
  try {
    url = new URL(source);
  } catch {
    url = null;
  }
  // A name before the host is how an address pretends to be another's.
  const safe = url && ['http:', 'https:', 'ipfs:'].includes(url.protocol) && url.username === '' && url.password === '' && source.length <= 2048;
  if (!safe) return h('span', { class: 'not-link' }, prose(source, 160));
  return h('a', { href: url.href, rel: 'noopener noreferrer', target: '_blank', title: plain(url.href) },
    words(source, 96), h('span', { class: 'unseen' }, ' (opens a new tab)'));
}

// ---------------------------------------------------------------- hashes

function short(value) {
  const digits = text(value);
  if (!isHash(digits) || digits.length <= 18) return plain(digits, 40);
  const head = digits.startsWith('0x') ? 8 : 6;
  return `${digits.slice(0, head)}…${digits.slice(-6)}`;
}

const unfolded = new Set(); // What could not be copied is shown in full, to be copied by hand.

function hash(value, what, whole = false) {
  const full = text(value);
  if (full === '') return h('span', { class: 'quiet' }, 'none');
  return h('button', {
    type: 'button', class: whole ? 'hash whole' : 'hash', title: plain(full), 'data-full': full,
    on: { click: (event) => copy(event.currentTarget) },
  }, h('span', { class: 'digits' }, (whole && full.length <= 80) || unfolded.has(full) ? plain(full) : short(full)), h('span', { class: 'unseen' }, what ? `, copy ${what}` : ', copy'), h('span', { class: 'done', 'aria-hidden': 'true' }, 'copied'));
}

async function copy(button) {
  const full = button.dataset.full;
  let done = false;
  try {
    await navigator.clipboard.writeText(full);
    done = true;
  } catch {
    // Without HTTPS there is no clipboard to write; the old way needs a selection.
    const area = document.createElement('textarea');
    area.value = full;
    area.className = 'unseen';
    area.setAttribute('aria-hidden', 'true');
    document.body.append(area);
    area.select();
    done = document.execCommand('copy');
    area.remove();
    button.focus({ preventScroll: true });
  }
  if (!done) {
    unfolded.add(full);
    render();
    say('Could not copy. It is shown in full instead.');
  } else {
    say(`Copied ${short(full)}`);
    button.classList.add('copied');
  }
  clearTimeout(button.timer);
  button.timer = setTimeout(() => button.classList.remove('copied'), 1500);
}

// ---------------------------------------------------------------- time

let anchor = null; // The newest block's time, and when this page first saw it.

const chainNow = () => (anchor ? anchor.time + (performance.now() - anchor.at) / 1000 : Date.now() / 1000);
const hasDate = (at) => at > 0 && at < 8.64e12;

function span(seconds, parts = 4) {
  let rest = Math.max(0, Math.floor(seconds));
  const out = [];
  for (const [size, unit] of [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']]) {
    const n = Math.floor(rest / size);
    rest -= n * size;
    if (n > 0 || out.length > 0 || unit === 's') out.push(`${n} ${unit}`);
  }
  return out.slice(0, parts).join(' ');
}

function inWords(seconds) {
  const out = [];
  let rest = Math.floor(number(seconds));
  if (rest > 86400 * 36500) return 'more than a century';
  for (const [size, one] of [[86400, 'day'], [3600, 'hour'], [60, 'minute'], [1, 'second']]) {
    const n = Math.floor(rest / size);
    rest -= n * size;
    if (n > 0) out.push(many(n, one));
  }
  return sentenceList(out);
}

function ago(seconds) {
  const past = Math.floor(seconds);
  if (past < 1) return 'just now';
  if (past < 120) return `${past} s ago`;
  if (past < 7200) return `${Math.floor(past / 60)} min ago`;
  if (past < 172800) return `${Math.floor(past / 3600)} h ago`;
  return `${Math.floor(past / 86400)} days ago`;
}

const HERE = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const HERE_EXACTLY = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });
const utc = (at) => new Date(at * 1000).toISOString().replace('.000Z', 'Z');

// A time in words that change by themselves (see `tick`), with the exact time in the element and on hover.
function clock(at, mode) {
  const then = number(at);
  if (!hasDate(then)) return h('span', { class: 'clock' }, then > 0 ? 'in the far future' : 'never');
  return h('time', { live: true, class: `clock ${mode}`, datetime: utc(then), title: `${HERE_EXACTLY.format(then * 1000)} (${utc(then)})`, 'data-at': then, 'data-mode': mode });
}

function date(at) {
  const then = number(at);
  if (!hasDate(then)) return then > 0 ? 'in the far future' : 'never';
  return h('time', { class: 'date', datetime: utc(then), title: `${HERE_EXACTLY.format(then * 1000)} (${utc(then)})` }, HERE.format(then * 1000));
}

const CLOCKS = {
  until: (at) => (at > chainNow() ? `in ${span(at - chainNow())}` : 'due, with the next block'),
  ago: (at) => ago(chainNow() - at),
  wall: (at) => ago(Date.now() / 1000 - at),
};

function tick() {
  for (const element of document.querySelectorAll('[data-mode]')) {
    const now = CLOCKS[element.dataset.mode](Number(element.dataset.at));
    if (element.textContent !== now) element.textContent = now;
  }
  for (const element of document.querySelectorAll('[data-received]')) {
    const now = ago((performance.now() - received) / 1000);
    if (element.textContent !== now) element.textContent = now;
  }
}

// ---------------------------------------------------------------- what the page knows

let state = null;
let received = 0;
let trouble = null; // Why the last request failed.
const comparisons = new Map();

let said = 0;
function say(sentence) {
  // The same sentence twice is heard twice.
  said += 1;
  byId('live').textContent = sentence + (said % 2 ? '\u00a0' : '');
}

async function ask(path) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), ANSWER_WITHIN);
  try {
    let response;
    let body;
    try {
      response = await fetch(path, { cache: 'no-store', credentials: 'same-origin', signal: stop.signal });
      body = await response.text();
    } catch {
      throw new Error('The server does not answer.');
    }
    let value = null;
    try {
      value = JSON.parse(body);
    } catch {
      value = null;
    }
    if (!response.ok) throw new Error(text(object(value).error) || `The server answers with status ${response.status}.`);
    if (value === null || typeof value !== 'object') throw new Error('The server answers with something that is not JSON.');
    return value;
  } finally {
    clearTimeout(timer);
  }
}

let polling = null;
let asking = false;
async function poll() {
  if (asking) return;
  asking = true;
  clearTimeout(polling);
  try {
    const next = await ask('api/state');
    const time = number(object(next.chain).time);
    // A block seen again keeps its first moment: countdowns go on between blocks.
    if (!anchor || anchor.time !== time) anchor = { time, at: performance.now() };
    const news = state ? changes(state, next) : [];
    if (trouble) news.unshift('The server answers again.');
    state = next;
    received = performance.now();
    trouble = null;
    render();
    if (news.length > 0) say(news.length > 4 ? `${news.slice(0, 4).join(' ')} And ${news.length - 4} more changes.` : news.join(' '));
  } catch (error) {
    const first = !trouble;
    trouble = error instanceof Error ? error.message : 'The server does not answer.';
    render();
    if (first) say(state ? `${plain(trouble, 200)} What is shown may be out of date.` : plain(trouble, 200));
  } finally {
    asking = false;
    polling = setTimeout(poll, POLL);
  }
}

// What a reader who cannot see the page should hear of an update.
function changes(before, after) {
  const facts = (from) => {
    const out = new Map();
    const pending = (owner, item) => out.set(`pending ${text(item.id)}`, `${owner}: ${plain(item.title, 120)}, pending.`);
    for (const item of list(object(from.kms).pending)) pending('KMS contract', object(item));
    for (const app of list(from.apps).map(object)) {
      const name = nameOf(app);
      out.set(`app ${app.id}`, `${name} is listed.`);
      if (app.paused || app.paused_at_kms) out.set(`paused ${app.id}`, `${name} is paused.`);
      for (const item of list(app.pending)) pending(name, object(item));
      for (const version of list(app.versions).map(object)) {
        out.set(`version ${app.id} ${version.number} ${version.state}`, `${name}: version ${plain(version.number)} is ${plain(version.state, 40)}.`);
      }
    }
    for (const proposal of list(from.proposals).map(object)) {
      out.set(`proposal ${proposal.file} ${proposal.status} ${list(proposal.signed_by).length}`, `Proposal ${plain(proposal.file, 80)}: ${plain(proposal.status, 60)}.`);
    }
    return out;
  };
  const old = facts(before);
  const now = facts(after);
  const news = [...now].filter(([key]) => !old.has(key)).map(([, sentence]) => sentence);
  for (const app of list(after.apps).map(object)) {
    if (old.has(`paused ${app.id}`) && !now.has(`paused ${app.id}`)) news.push(`${nameOf(app)} is no longer paused.`);
  }
  return news;
}

// ---------------------------------------------------------------- pieces

const nameOf = (app) => plain(app.name, 80).trim() || `App ${short(app.id)}`;
const tag = (tone, label) => h('span', { class: `tag ${tone}` }, label);
const section = (title, key, ...children) => h('section', { key, class: 'part' }, h('h3', {}, title), children);
const empty = (...children) => h('p', { class: 'empty' }, children);
const code = (command) => h('code', {}, command);

function owner(value, key) {
  const who = object(value);
  const signers = list(who.signers);
  const kind = of({
    safe: `Safe: ${number(who.threshold)} of ${many(signers.length, 'signer')} must sign`,
    account: 'One account: whoever has its key decides alone',
    timelock: `Timelock: waits at least ${inWords(who.min_delay) || 'no time'}`,
    contract: 'A contract, by rules of its own',
    nobody: 'Nobody: no one can change it any more',
  }, who.kind);
  if (!value) return h('p', { class: 'quiet' }, 'unknown');
  return [
    h('p', {}, kind || plain(who.kind, 40) || 'unknown', ' '),
    who.kind === 'nobody' ? null : h('p', {}, hash(who.address, "owner's address")),
    signers.length > 0 && h('ul', { key: `signers ${key}`, class: 'signers', 'aria-label': 'Signers' }, signers.map((signer) => h('li', { key: text(signer) }, hash(signer, "signer's address")))),
  ];
}

function guardian(value) {
  if (!value) return h('p', {}, 'Nobody: only the owner can pause');
  return [h('p', {}, 'May pause and cancel, nothing more'), h('p', {}, hash(value, "guardian's address"))];
}

const delayed = (seconds) => (number(seconds) > 0 ? `${inWords(seconds)} from announcement to effect` : 'None: a change takes effect at once');

function facts(pairs) {
  return h('dl', { class: 'facts' }, pairs.filter(Boolean).map(([name, ...value]) => h('div', { key: name }, h('dt', {}, words(name, 60)), h('dd', {}, value))));
}

function running(app) {
  return list(app.versions).map(object).filter((version) => version.state === 'active').sort((a, b) => number(b.number) - number(a.number));
}

// The button that shows what is different from what runs, and what it shows.
function comparison(app, to, place) {
  const target = text(to);
  if (target === '') return [];
  const from = running(app).find((version) => !same(version.compose_hash, target));
  const version = list(app.versions).map(object).find((one) => same(one.compose_hash, target));
  if (version && version.state === 'active') return [];
  if (!from) return [h('p', { class: 'quiet', key: 'compare' }, 'Nothing runs that it could be compared with.')];
  if ((version && version.compose_known === false) || from.compose_known === false) {
    return [h('p', { class: 'quiet', key: 'compare' }, 'Cannot be compared: this server has no compose file with ', version && version.compose_known === false ? 'its' : `version ${plain(from.number)}'s`, ' hash.')];
  }
  const key = `${text(app.id)} ${target} ${text(from.compose_hash)} ${place}`;
  const shown = comparisons.get(key);
  const id = `compare-${hashCode(key)}`;
  return [
    h('p', { class: 'act', key: 'compare' }, h('button', {
      type: 'button', class: 'plain', 'aria-expanded': shown ? 'true' : 'false', 'aria-controls': shown ? id : null,
      on: { click: () => compare(key, app.id, from, target) },
    }, shown ? 'Hide the comparison' : 'Compare with running', h('span', { class: 'unseen' }, ` ${from.number === undefined ? '' : `version ${plain(from.number)}`} (${short(target)})`))),
    shown && h('div', { class: 'diff', id, key: 'diff' }, difference(shown, from)),
  ];
}

function hashCode(value) {
  let n = 0;
  for (let i = 0; i < value.length; i += 1) n = (Math.imul(n, 31) + value.charCodeAt(i)) >>> 0;
  return n.toString(36);
}

async function compare(key, app, from, to) {
  if (comparisons.delete(key)) {
    render();
    return;
  }
  const shown = { lines: null, error: null };
  comparisons.set(key, shown);
  render();
  const query = new URLSearchParams({ app: text(app), from: text(from.compose_hash), to });
  try {
    shown.lines = list((await ask(`api/diff?${query}`)).lines).map(object);
    const [added, removed] = ['+', '-'].map((mark) => shown.lines.filter((line) => line.tag === mark).length);
    say(`Comparison: ${many(added, 'line')} added, ${removed} removed.`);
  } catch (error) {
    shown.error = error.message;
    say(`No comparison: ${plain(error.message, 200)}`);
  }
  render();
}

function difference(shown, from) {
  if (shown.error) return h('p', {}, 'No comparison: ', words(shown.error, 300));
  if (!shown.lines) return h('p', { class: 'quiet' }, 'Reading both compose files.');
  const added = shown.lines.filter((line) => line.tag === '+').length;
  const removed = shown.lines.filter((line) => line.tag === '-').length;
  if (added + removed === 0) return h('p', {}, 'The compose files are the same.');

  const line = (one, key) => {
    const [tagName, mark, name] = { '+': ['ins', '+', 'added: '], '-': ['del', '\u2212', 'removed: '] }[one.tag] || ['span', '\u00a0', ''];
    return h(tagName, { key, class: 'line' }, h('span', { class: 'mark', 'aria-hidden': 'true' }, mark), h('span', { class: 'unseen' }, name), h('bdi', { class: 'code' }, seen(one.text), '\n'));
  };
  // A long run of unchanged lines folds, three left on each side for context.
  const out = [];
  let at = 0;
  while (at < shown.lines.length) {
    let end = at;
    while (end < shown.lines.length && !['+', '-'].includes(shown.lines[end].tag)) end += 1;
    if (end === at) {
      out.push(line(shown.lines[at], `line ${at}`));
      at += 1;
      continue;
    }
    const before = at === 0 ? 0 : 3;
    const after = end === shown.lines.length ? 0 : 3;
    const run = shown.lines.slice(at, end).map((one, i) => line(one, `line ${at + i}`));
    if (run.length > before + after + 3) {
      const hidden = run.slice(before, run.length - after);
      out.push(run.slice(0, before), h('details', { key: `fold ${at}` }, h('summary', {}, `${many(hidden.length, 'unchanged line')}`), hidden), run.slice(run.length - after));
    } else out.push(run);
    at = end;
  }
  return [
    h('p', { class: 'quiet' }, `Against version ${plain(from.number)}, which may run now: ${many(added, 'line')} added (+), ${removed} removed (\u2212).`),
    h('pre', { class: 'lines' }, out),
  ];
}

// ---------------------------------------------------------------- parts of a card

function verdict(app) {
  const active = running(app);
  const no = (...why) => h('p', { class: 'verdict no' }, h('strong', {}, 'Nothing may start. '), why);
  if (app.registered === false) return no('The KMS contract does not know this app; its owner has to register it.');
  if (app.paused_at_kms) return no('The KMS contract has paused this app; its owner has to lift that.');
  if (app.paused) return no('This app is paused; its owner has to lift that.');
  if (active.length > 0) {
    const numbers = active.map((version) => plain(version.number, 20)).filter((n) => n !== '');
    if (numbers.length === 0) return h('p', { class: 'verdict' }, `${many(active.length, 'compose file')} may run.`);
    return h('p', { class: 'verdict' }, `${numbers.length === 1 ? 'Version' : 'Versions'} ${sentenceList(numbers)} may run.`);
  }
  if (list(app.versions).some((version) => object(version).state === 'pending')) return no('No version is active yet; see what is pending.');
  if (app.kind === 'custom') return h('p', { class: 'verdict' }, 'The contract decides by rules of its own and lists no versions.');
  return no('No version is active. Allow one with ', code('bylaw app allow'), '.');
}

const TONES = { active: 'good', pending: 'wait', expired: 'off', retired: 'off', removed: 'off' };

function version(app, one) {
  const expires = number(one.expires_at);
  const label = one.number === undefined || one.number === null ? 'Compose file' : `Version ${plain(one.number, 20)}`;
  const note = link(one.note);
  return h('li', { key: `version ${text(one.number)} ${text(one.compose_hash)}`, class: 'version' },
    h('div', { class: 'line-up' },
      h('h4', {}, label), tag(of(TONES, one.state) || 'off', plain(one.state, 24) || 'unknown'), hash(one.compose_hash, 'compose hash')),
    h('p', { class: 'when' },
      one.state === 'pending' ? ['Becomes active ', clock(one.activates_at, 'until'), ', ', date(one.activates_at)]
        : number(one.activates_at) > 0 && [one.state === 'active' ? 'Active since ' : 'Set to become active ', date(one.activates_at)],
      one.state === 'active' && expires > 0 && [number(one.activates_at) > 0 ? '; expires ' : 'Expires ', clock(expires, 'until'), ', ', date(expires)],
      one.state === 'expired' && expires > 0 && ['; expired ', date(expires)]),
    note && h('div', { class: 'note' }, h('span', { class: 'quiet' }, 'Note: '), note),
    // A pending change below has the same button.
    !list(app.pending).some((change) => same(object(change).compose_hash, one.compose_hash)) && comparison(app, one.compose_hash, 'version'));
}

function versions(app, alone) {
  const all = list(app.versions).map(object);
  const rank = (one) => of({ active: 0, pending: 1 }, one.state) ?? 2;
  all.sort((a, b) => rank(a) - rank(b) || number(b.number) - number(a.number));
  const now = all.filter((one) => rank(one) < 2);
  const past = all.filter((one) => rank(one) === 2);
  return [
    now.length > 0 && h('ul', { class: 'versions', key: 'versions now' }, now.map((one) => version(app, one))),
    past.length > 0 && h('details', { key: 'versions past', open: alone && past.length < 4 },
      h('summary', {}, `${many(past.length, 'version')} that may not run any more`),
      h('ul', { class: 'versions' }, past.map((one) => version(app, one)))),
  ];
}

function pending(holder, app, alone) {
  const all = list(holder.pending).map(object).sort((a, b) => number(a.activates_at) - number(b.activates_at));
  return section('Pending changes', 'pending', all.length === 0
    ? empty('Nothing is pending.', alone && ' A change that was announced shows here until it takes effect.')
    : h('ul', { class: 'pending' }, all.map((one) => h('li', { key: `pending ${text(one.id)}` },
      h('div', { class: 'what' },
        h('h4', {}, words(one.title)),
        text(one.detail) && h('div', { class: 'detail' }, detail(one.detail)),
        h('p', { class: 'when' }, 'Change ', hash(one.id, "the change's id"))),
      h('div', { class: 'countdown' }, h('p', {}, clock(one.activates_at, 'until')), h('p', { class: 'when' }, date(one.activates_at))),
      app ? h('div', { class: 'below' }, comparison(app, one.compose_hash, 'pending')) : null))));
}

function proposal(one) {
  const by = list(one.signed_by);
  const signers = list(one.signers);
  const signed = (who) => by.some((other) => same(other, who));
  const strangers = by.filter((who) => !signers.some((signer) => same(signer, who)));
  const counted = signers.filter(signed).length;
  const status = text(one.status);
  const tone = status.startsWith('ready') ? 'good' : status.startsWith('needs') ? 'wait' : 'off';
  const finished = status === 'executed' || status === 'stale';
  const todo = status.startsWith('ready') ? 'Enough signers signed: anyone may send it now.'
    : status === 'stale' ? 'Another transaction has used its nonce: propose it anew.' : '';
  return h('li', { key: `proposal ${text(one.file)}`, class: 'proposal' },
    h('div', { class: 'line-up' }, h('h4', {}, words(one.title)), tag(tone, plain(status, 48) || 'unknown')),
    h('p', { class: 'when' }, h('span', { class: 'file' }, words(one.file, 80)), `, nonce ${plain(one.nonce, 20)} of Safe `, hash(one.safe, "the Safe's address"), ', transaction ', hash(one.safe_tx_hash, "the Safe transaction's hash")),
    todo && h('p', {}, todo),
    h('p', { class: 'tally' }, `${counted} of ${number(one.threshold)} needed signatures`),
    h('ul', { class: 'signatures' },
      signers.map((who) => h('li', { key: `signer ${text(who)}`, class: signed(who) ? 'yes' : finished || counted >= number(one.threshold) ? 'spare' : 'not' }, hash(who, "signer's address"), ' ', h('span', { class: 'word' }, signed(who) ? 'signed' : finished ? 'did not sign' : counted >= number(one.threshold) ? 'not needed' : 'missing'))),
      strangers.map((who) => h('li', { key: `stranger ${text(who)}`, class: 'stranger' }, hash(who, 'address'), ' ', h('span', { class: 'word' }, 'signed, but is no signer: does not count')))));
}

function proposals(all, alone, heading = 'Proposals') {
  const isOver = (one) => one.status === 'executed' || one.status === 'stale';
  const open = all.filter((one) => !isOver(one));
  const over = all.filter(isOver);
  return section(heading, 'proposals',
    open.length === 0 ? empty('No proposal waits.', alone && ' A proposal file whose target is this contract shows here, with who signed it and who is missing.')
      : h('ul', { class: 'proposals' }, open.map(proposal)),
    over.length > 0 && h('details', { key: 'proposals over' }, h('summary', {}, many(over.length, 'finished proposal')), h('ul', { class: 'proposals' }, over.map(proposal))));
}

const proposalsFor = (address) => (text(address) === '' ? [] : list(state.proposals).map(object).filter((one) => same(one.target, address)));

function history(holder, alone) {
  const events = list(holder.history).map(object).sort((a, b) => number(b.time) - number(a.time) || number(b.block) - number(a.block));
  const entry = (event) => h('li', { key: `event ${text(event.tx)} ${text(event.block)} ${text(event.title)}` },
    h('p', { class: 'when' }, date(event.time), ', ', clock(event.time, 'ago')),
    h('h4', {}, words(event.title)),
    text(event.detail) && h('div', { class: 'detail' }, detail(event.detail)),
    h('p', { class: 'when' }, `Block ${plain(event.block, 20)}`, text(event.tx) && [', transaction ', hash(event.tx, 'transaction hash')], event.by && [', by ', hash(event.by, 'address')]));
  if (events.length === 0) return section('History', 'history', empty('Nothing has happened yet.'));
  const most = alone ? 25 : 5;
  return section('History', 'history', h('details', { key: `history ${alone}`, open: alone },
    h('summary', {}, many(events.length, 'event'), ', the last ', clock(events[0].time, 'ago')),
    h('ol', { class: 'history' }, events.slice(0, most).map(entry)),
    events.length > most && h('details', { key: 'history earlier' }, h('summary', {}, many(events.length - most, 'earlier event')), h('ol', { class: 'history' }, events.slice(most).map(entry)))));
}

// ---------------------------------------------------------------- cards

const KINDS = { bylaw: 'Bylaw', dstack: 'dstack', custom: 'custom contract' };
const kindOf = (value) => of(KINDS, value) || plain(value, 24) || 'unknown kind';

function card(id, key, href, title, tags, address, alone, ...children) {
  const name = `title-${id}`;
  return h('article', { key, class: 'card', 'aria-labelledby': name },
    h('header', {},
      h('div', { class: 'line-up' }, h('h2', { id: name, tabindex: '-1' }, alone ? h('bdi', {}, title) : h('a', { href }, h('bdi', {}, title))), tags),
      h('p', {}, hash(address, 'address', true))),
    children);
}

function kmsCard(alone) {
  const kms = object(state.kms);
  const nodes = list(kms.nodes).map(object);
  return card('kms', `kms ${alone}`, '#/kms', 'KMS contract', [tag('off', kindOf(kms.kind)), kms.upgrades_disabled && tag('good', 'code is final')], kms.address, alone,
    h('div', { class: 'columns' },
      h('div', { class: 'main-column' },
        section('KMS nodes', 'nodes', nodes.length === 0
          ? empty('No node is known to this server.')
          : h('ul', { class: 'nodes' }, nodes.map((node) => h('li', { key: `node ${text(node.endpoint)}` }, h('p', {}, link(node.endpoint) || 'no address'),
            h('p', { class: 'when' }, 'Key ', hash(node.public_key, 'public key'), ', evidence ', hash(node.evidence_hash, "the evidence's hash")))))),
        pending(kms, null, alone), proposals(proposalsFor(kms.address), alone)),
      h('div', { class: 'side-column' }, section('Who decides', 'who', facts([
        ['Owner', owner(kms.owner, 'kms')], ['Guardian', guardian(kms.guardian)], ['Delay', delayed(kms.delay)],
        ['Code', kms.upgrades_disabled ? 'Final: it cannot be replaced' : 'The owner can replace it'],
        text(kms.gateway_app_id) && ['Gateway app', hash(kms.gateway_app_id, 'gateway app id')]])))),
    history(kms, alone));
}

function appCard(app, alone) {
  const tags = [
    tag('off', kindOf(app.kind)),
    app.registered === false && tag('bad', 'not registered'),
    app.paused && tag('bad', 'paused'),
    app.paused_at_kms && tag('bad', 'paused at the KMS'),
    app.versions_frozen && tag('good', 'versions are final'),
    app.upgrades_disabled && tag('good', 'code is final'),
  ];
  const rules = list(app.policy).map(object);
  return card(hashCode(text(app.id)), `app ${text(app.id)} ${alone}`, `#/app/${encodeURIComponent(text(app.id))}`, nameOf(app), tags, app.id, alone,
    h('div', { class: 'columns' },
      h('div', { class: 'main-column' },
        section('What may run now', 'run', verdict(app), versions(app, alone)),
        pending(app, app, alone), proposals(proposalsFor(app.id), alone)),
      h('div', { class: 'side-column' },
        section('Policy', 'policy', rules.length === 0 ? empty('The contract tells no rules beyond its versions.') : facts(rules.map((rule) => [text(rule.rule), prose(rule.value, 160)]))),
        section('Who decides', 'who', facts([
          ['Owner', owner(app.owner, text(app.id))], ['Guardian', guardian(app.guardian)], ['Delay', delayed(app.delay)],
          ['Versions', app.versions_frozen ? 'Final: none can be added' : 'The owner can add some'],
          ['Code', app.upgrades_disabled ? 'Final: it cannot be replaced' : 'The owner can replace it']])))),
    history(app, alone));
}

// ---------------------------------------------------------------- the page

function route() {
  const parts = location.hash.replace(/^#\/?/, '').split('/');
  if (parts[0] === 'kms') return { page: 'kms' };
  if (parts[0] === 'app' && parts[1]) {
    try {
      return { page: 'app', id: decodeURIComponent(parts[1]) };
    } catch {
      return { page: 'app', id: parts[1] };
    }
  }
  return { page: 'all' };
}

function comingUp() {
  const rows = [];
  const add = (holder, name, href) => {
    for (const one of list(holder.pending).map(object)) rows.push({ at: number(one.activates_at), one, name, href });
  };
  add(object(state.kms), 'KMS contract', '#/kms');
  for (const app of list(state.apps).map(object)) add(app, nameOf(app), `#/app/${encodeURIComponent(text(app.id))}`);
  rows.sort((a, b) => a.at - b.at);
  const waiting = list(state.proposals).map(object).filter((one) => text(one.status).startsWith('needs') || text(one.status).startsWith('ready'));
  const sentence = [
    rows.length === 0 ? 'Nothing is pending' : `${many(rows.length, 'change')} pending`,
    waiting.length === 0 ? 'no proposal waits' : `${many(waiting.length, 'proposal')} ${waiting.length === 1 ? 'waits' : 'wait'} for signatures or to be sent`,
  ].join(', ');
  return h('section', { class: 'coming', key: 'coming', 'aria-labelledby': 'coming-title' },
    h('h2', { id: 'coming-title', tabindex: '-1' }, 'Coming up'),
    h('p', { class: 'verdict' }, `${sentence}.`),
    rows.length > 0 && h('ul', {}, rows.slice(0, 8).map(({ at, one, name, href }) => h('li', { key: `coming ${text(one.id)}` },
      h('span', { class: 'soon' }, clock(at, 'until')), h('span', {}, h('a', { href }, h('bdi', {}, name)), ': ', words(one.title))))),
    rows.length > 8 && h('p', { class: 'quiet' }, `And ${many(rows.length - 8, 'later change')}, below.`));
}

function strays() {
  const known = [object(state.kms).address, ...list(state.apps).map((app) => object(app).id)];
  const others = list(state.proposals).map(object).filter((one) => !known.some((address) => same(address, one.target)));
  if (others.length === 0) return null;
  return h('article', { class: 'card', key: 'strays', 'aria-labelledby': 'title-strays' },
    h('header', {}, h('h2', { id: 'title-strays' }, 'Other contracts')), proposals(others, false, 'Proposals for contracts not listed here'));
}

function content(where) {
  if (!state) {
    if (!trouble) return [h('p', { class: 'loading', key: 'loading' }, 'Reading the chain.')];
    return [h('section', { class: 'empty-page', key: 'none' }, h('h2', { tabindex: '-1' }, 'Nothing to show yet'), h('p', {}, words(trouble, 300)),
      h('p', {}, 'Is ', code('bylaw gov serve'), ' still running? This page asks again every 5 seconds.'))];
  }
  const back = h('p', { class: 'back', key: 'back' }, h('a', { href: '#/' }, 'All contracts'));
  if (where.page === 'kms') return [back, kmsCard(true)];
  if (where.page === 'app') {
    const app = list(state.apps).map(object).find((one) => same(one.id, where.id));
    if (app) return [back, appCard(app, true)];
    return [back, h('section', { class: 'empty-page', key: 'unknown' }, h('h2', { tabindex: '-1' }, 'No such app here'),
      h('p', {}, 'This server tells nothing about ', hash(where.id, 'address'), '. Compare the address with the one you were given, or choose from all contracts.'))];
  }
  const apps = list(state.apps).map(object);
  return [comingUp(),
    apps.map((app) => appCard(app, false)),
    apps.length === 0 && h('section', { class: 'empty-page', key: 'no apps' }, h('h2', { tabindex: '-1' }, 'No app yet'),
      h('p', {}, 'Make one with ', code('bylaw app create'), ', then allow a version with ', code('bylaw app allow'), '. It shows here by itself.')),
    kmsCard(false), strays()];
}

function index(where) {
  if (!state) return [];
  const apps = list(state.apps).map(object);
  const entry = (href, name, current, note) => h('li', { key: href }, h('a', { href, 'aria-current': current ? 'page' : null }, h('bdi', { class: 'name' }, name), note && h('span', { class: 'note' }, note)));
  const note = (holder) => sentenceList([
    (holder.paused || holder.paused_at_kms) && 'paused',
    holder.registered === false && 'not registered',
    list(holder.pending).length > 0 && `${list(holder.pending).length} pending`,
  ].filter(Boolean));
  return [h('ul', {}, entry('#/', 'All contracts', where.page === 'all', many(apps.length, 'app')),
    apps.map((app) => entry(`#/app/${encodeURIComponent(text(app.id))}`, cut(nameOf(app), 48), where.page === 'app' && same(where.id, app.id), note(app))),
    entry('#/kms', 'KMS contract', where.page === 'kms', note(object(state.kms))))];
}

const CHAINS = { 1: 'Ethereum', 10: 'OP Mainnet', 8453: 'Base', 42161: 'Arbitrum One', 11155111: 'Sepolia', 84532: 'Base Sepolia', 31337: 'local chain' };

function chainFacts() {
  if (!state) return [];
  const chain = object(state.chain);
  const idle = hasDate(number(chain.time)) && Date.now() / 1000 - number(chain.time) > IDLE_CHAIN;
  const named = of(CHAINS, chain.id);
  const name = named ? ` (${named})` : '';
  return [h('dl', {},
    h('div', { key: 'chain' }, h('dt', {}, 'Chain'), h('dd', {}, `${plain(chain.id, 24)}${name}`)),
    h('div', { key: 'block' }, h('dt', {}, 'Block'), h('dd', {}, plain(chain.block, 24), ' ', h('span', { class: 'quiet' }, 'made ', clock(chain.time, 'wall')))),
    chain.finalized !== null && chain.finalized !== undefined && h('div', { key: 'final' }, h('dt', {}, 'Finalized'), h('dd', {}, plain(chain.finalized, 24))),
    h('div', { key: 'age' }, h('dt', {}, 'Updated'), h('dd', {}, h('span', { live: true, 'data-received': 'yes' }), trouble && h('strong', { class: 'stale' }, ' stale')))),
  idle && h('p', { class: 'idle', key: 'idle' }, "No block for a while: the chain is idle, or the server's node is behind.")];
}

function banner() {
  if (!trouble || !state) return [];
  return [h('div', { class: 'banner', key: 'banner' }, h('p', {}, h('strong', {}, 'Out of date. '), words(trouble, 300),
    ` Shown is block ${plain(object(state.chain).block, 24)}, read `, h('span', { live: true, 'data-received': 'yes' }), '. This page asks again every 5 seconds.'))];
}

function render() {
  const where = route();
  const focused = document.activeElement;
  patch(byId('facts'), chainFacts());
  patch(byId('banner'), banner());
  patch(byId('index'), index(where));
  patch(byId('main'), content(where));
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  tick();
  const app = where.page === 'app' && state ? list(state.apps).map(object).find((one) => same(one.id, where.id)) : null;
  const title = where.page === 'kms' ? 'KMS contract' : app ? nameOf(app) : '';
  document.title = `${trouble ? 'Stale: ' : ''}${title ? `${title}, ` : ''}Bylaw governance`;
}

window.addEventListener('hashchange', () => {
  if (location.hash === '#main') return;
  render();
  window.scrollTo(0, 0);
  const heading = byId('main').querySelector('h2');
  if (heading) heading.focus({ preventScroll: true });
});
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  byId('main').focus();
  byId('main').scrollIntoView();
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) poll();
});

setInterval(tick, 1000);
poll();
