// A live log: follows, pauses, searches. Its lines are drawn outside the page's description, for speed.
import { h } from './dom.js';
import { log } from './api.js';
import { changed, say } from './state.js';
import { many, plain } from './text.js';

const KEPT = 5000;
const AGAIN = 3000;
const HEARTBEAT = '[vmm heartbeat]';
// Colours and cursor movements; the VMM strips them, this is for what it does not know.
// eslint-disable-next-line no-control-regex
const ANSI = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;

const view = {
  id: null, channel: 'serial', lines: [], shown: 0, paused: false, search: '', only: false, status: 'connecting', error: '', abort: null, element: null, missed: 0,
};

const clean = (line) => {
  const plainLine = line.replace(ANSI, '');
  // A carriage return starts the line over, as a terminal would.
  return plain(plainLine.slice(plainLine.replace(/\r+$/, '').lastIndexOf('\r') + 1).replace(/\r/g, ''), 4000);
};

function drawLine(line) {
  const element = document.createElement('span');
  element.className = 'log-line';
  const wanted = view.search.toLowerCase();
  if (wanted === '') { element.textContent = `${line}\n`; return element; }
  const low = line.toLowerCase();
  let from = 0;
  for (let at = low.indexOf(wanted); at >= 0; at = low.indexOf(wanted, from)) {
    const mark = document.createElement('mark');
    mark.textContent = line.slice(at, at + wanted.length);
    element.append(line.slice(from, at), mark);
    from = at + wanted.length;
  }
  element.append(`${line.slice(from)}\n`);
  return element;
}

const wantedNow = () => view.lines.filter((line) => !view.only || view.search === '' || line.toLowerCase().includes(view.search.toLowerCase()));

function redraw() {
  if (!view.element) return;
  view.element.replaceChildren(...wantedNow().map(drawLine));
  if (!view.paused) view.element.scrollTop = view.element.scrollHeight;
}

function append(lines) {
  view.lines.push(...lines);
  if (view.lines.length > KEPT) view.lines.splice(0, view.lines.length - KEPT);
  if (view.paused) { view.missed += lines.length; changed(); return; }
  if (!view.element) return;
  const fits = lines.filter((line) => !view.only || view.search === '' || line.toLowerCase().includes(view.search.toLowerCase()));
  view.element.append(...fits.map(drawLine));
  while (view.element.childNodes.length > KEPT) view.element.firstChild.remove();
  view.element.scrollTop = view.element.scrollHeight;
}

async function follow(id, channel) {
  const abort = new AbortController();
  view.abort = abort;
  while (!abort.signal.aborted) {
    try {
      const reader = await log(id, channel, KEPT, abort.signal);
      view.lines = [];
      view.missed = 0;
      view.status = 'following';
      view.error = '';
      redraw();
      changed();
      let rest = '';
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const parts = (rest + value).split('\n');
        rest = parts.pop();
        const fresh = parts.filter((line) => line.trim() !== HEARTBEAT).map(clean);
        if (fresh.length > 0) append(fresh);
        if (view.lines.length === fresh.length) changed();
      }
      if (rest !== '') append([clean(rest)]);
      view.status = 'ended';
    } catch (error) {
      if (abort.signal.aborted) return;
      view.status = 'lost';
      view.error = error.message;
    }
    changed();
    await new Promise((done) => { setTimeout(done, AGAIN); });
  }
}

/// Follows a VM's log until `leave`.
export function enter(id) {
  if (view.id === id && view.abort) return;
  leave();
  Object.assign(view, { id, lines: [], status: 'connecting', error: '', paused: false, missed: 0 });
  follow(id, view.channel);
}

/// Stops following.
export function leave() {
  view.abort?.abort();
  view.abort = null;
  view.id = null;
  view.element = null;
}

function choose(channel) {
  const { id } = view;
  leave();
  view.channel = channel;
  enter(id);
  say(`${channel} log`);
  changed();
}

function pause(on) {
  if (view.paused === on) return;
  view.paused = on;
  view.missed = 0;
  if (!on) redraw();
  say(on ? 'Paused' : 'Following');
  changed();
}

const lookBack = () => { if (view.element.scrollHeight > view.element.clientHeight) pause(true); };

function save() {
  const url = URL.createObjectURL(new Blob([`${view.lines.join('\n')}\n`], { type: 'text/plain' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = `${view.id}-${view.channel}.log`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

const CHANNELS = [['serial', 'Serial', 'the guest\u2019s console'], ['stdout', 'stdout', 'of QEMU'], ['stderr', 'stderr', 'of QEMU']];

/// The view.
export function logs(vm) {
  const matches = view.search === '' ? 0 : view.lines.filter((line) => line.toLowerCase().includes(view.search.toLowerCase())).length;
  const said = view.paused ? `Paused${view.missed > 0 ? `, ${many(view.missed, 'new line')}` : ''}` : { connecting: 'Connecting', following: `Following, ${many(view.lines.length, 'line')}`, ended: 'Ended; asking again', lost: `Lost: ${view.error}` }[view.status];
  return h('section', { class: 'logs', key: `logs ${vm.id}`, 'aria-label': 'Logs' },
    h('div', { class: 'filters' },
      h('div', { class: 'switch', role: 'group', 'aria-label': 'Which log' }, CHANNELS.map(([channel, label, title]) => h('button', { type: 'button', key: channel, title, 'aria-pressed': String(view.channel === channel), on: { click: () => choose(channel) } }, label))),
      h('label', { class: 'unseen', for: 'log-search' }, 'Search this log'),
      h('input', { id: 'log-search', type: 'search', placeholder: 'Find in the log', value: view.search, on: { input: (event) => { view.search = event.target.value; redraw(); changed(); } } }),
      h('div', { class: 'tick' }, h('input', { id: 'log-only', type: 'checkbox', checked: view.only, on: { change: (event) => { view.only = event.target.checked; redraw(); changed(); } } }), h('label', { for: 'log-only' }, 'matches only')),
      h('span', { class: 'spacer' }),
      h('button', { type: 'button', class: 'plain', 'aria-pressed': String(view.paused), on: { click: () => pause(!view.paused) } }, view.paused ? 'Follow' : 'Pause'),
      h('button', { type: 'button', class: 'plain', on: { click: save } }, 'Save')),
    h('p', { class: `log-state ${view.status === 'lost' ? 'bad' : 'quiet'}`, role: 'status' }, said, view.search && `; ${many(matches, 'line')} with “${plain(view.search, 40)}”`),
    h('pre', {
      class: 'log', tabindex: 0, role: 'log', 'aria-live': 'off', 'aria-label': `${view.channel} log of ${plain(vm.name, 60)}`, live: true,
      mount: (element) => { view.element = element; redraw(); },
      // Whoever looks back wants it to hold still.
      on: {
        wheel: (event) => { if (event.deltaY < 0) lookBack(); },
        touchmove: lookBack,
        keydown: (event) => { if (['ArrowUp', 'PageUp', 'Home'].includes(event.key)) lookBack(); else if (event.key === 'End') pause(false); },
      },
    }),
    view.lines.length === 0 && view.status !== 'lost' && h('p', { class: 'empty' }, view.status === 'connecting' ? '' : 'Nothing in this log yet. It fills once the VM starts.'));
}
