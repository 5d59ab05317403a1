// Boot progress: what the guest said, how long each step took.
import { h } from './dom.js';
import { clock, duration, plain, words } from './text.js';
import { condition } from './condition.js';

// Longer than this between two words of one boot, and they are of two boots.
const SILENCE = 30 * 60 * 1000;

/// Splits events at the ends of runs; the last part is the newest boot.
export function boots(events) {
  const parts = [[]];
  let ended = false;
  let last = null;
  for (const event of events) {
    const starts = event.event === 'boot.progress' && last !== null && (ended || event.body === 'booting' || event.timestamp - last > SILENCE);
    if (starts) {
      parts.push([]);
      ended = false;
    }
    if (event.event === 'shutdown.progress' || event.event === 'boot.error') ended = true;
    last = event.timestamp;
    parts[parts.length - 1].push(event);
  }
  return parts;
}

const WORD = { 'boot.progress': '', 'boot.error': 'Failed: ', 'shutdown.progress': 'Shutting down: ' };

function step(event, start, next, running, now) {
  const failed = event.event === 'boot.error';
  const current = !next && running;
  const took = next ? next.timestamp - event.timestamp : current ? now - event.timestamp : null;
  const kind = failed ? 'bad' : current ? 'wait' : 'good';
  return h('li', { class: kind, key: `${event.timestamp} ${event.event} ${event.body}`, title: clock(event.timestamp) },
    h('span', { class: 'at' }, `+${duration(event.timestamp - start)}`),
    h('span', { class: 'what' }, event.event in WORD ? WORD[event.event] : `${plain(event.event, 60)}: `, words(event.body, 600)),
    h('span', { class: 'took' }, took === null ? '' : current ? `${duration(took)} so far` : duration(took)));
}

/// The newest boot as a list, earlier ones folded.
export function timeline(vm, now) {
  const events = [...(vm.events || [])].filter((event) => event.event !== 'instance.info').sort((a, b) => a.timestamp - b.timestamp);
  if (events.length === 0) {
    return h('p', { class: 'empty' }, vm.status === 'running'
      ? 'The guest has not said anything yet. Kernel messages come first, in the serial log.'
      : 'Nothing yet: start the VM and its steps appear here as the guest takes them.');
  }
  const parts = boots(events);
  const newest = parts.pop();
  const running = condition(vm).word === 'Booting';
  const drawn = (part, live) => h('ol', { class: 'steps' }, part.map((event, i) => step(event, part[0].timestamp, part[i + 1], live, now)));
  const whole = newest[newest.length - 1].timestamp - newest[0].timestamp;
  return [
    h('p', { class: 'quiet' }, `${clock(newest[0].timestamp)}, ${running ? `${duration(now - newest[0].timestamp)} so far` : `${duration(whole)} from the first word to the last`}.`),
    drawn(newest, running),
    parts.length > 0 && h('details', { key: 'earlier' }, h('summary', {}, `Earlier (${parts.length})`), parts.reverse().map((part) => drawn(part, false))),
  ];
}
