// Values for people: text of strangers, hashes, durations, sizes.
import { h } from './dom.js';
import { say } from './state.js';

// Characters that show nothing, or reorder what stands around them, are shown by their number.
// eslint-disable-next-line no-control-regex
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]/gu;
const codePoint = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}`;

/// Text with nothing invisible in it, at most `most` characters.
export function plain(value, most = 400) {
  const all = String(value ?? '').replace(UNSEEN, codePoint);
  return all.length > most ? `${all.slice(0, most)}…` : all;
}

/// The same as an element, apart from the writing direction of what stands around it.
export const words = (value, most = 400) => h('bdi', {}, plain(value, most));

/// `1 VM`, `2 VMs`.
export const many = (n, one, more = `${one}s`) => `${n} ${n === 1 ? one : more}`;

/// A word with a colour and a shape; the word alone says it too.
export const tag = (tone, ...content) => h('span', { class: `tag ${tone}` }, content);

/// `0.4 s`, `12.3 s`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`.
export function duration(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 60) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  const parts = (big, small, one, other) => `${Math.floor(big)} ${one}${Math.floor(small) > 0 ? ` ${Math.floor(small)} ${other}` : ''}`;
  if (s < 3600) return parts(s / 60, s % 60, 'min', 's');
  if (s < 86400) return parts(s / 3600, (s % 3600) / 60, 'h', 'min');
  return parts(s / 86400, (s % 86400) / 3600, 'd', 'h');
}

/// Bytes in binary units, as people say them.
export function size(bytes) {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let n = Number(bytes) || 0;
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${n < 10 && unit > 0 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

/// `4 GB` of MiB.
export const memory = (mib) => size(Number(mib) * 1024 * 1024);

/// Absolute time, in the reader's zone.
export const clock = (ms) => new Date(ms).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });

/// Puts text on the clipboard, also where the page is served by plain HTTP.
export async function copy(text, what) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else {
      const area = document.createElement('textarea');
      area.value = text;
      area.className = 'unseen';
      document.body.append(area);
      area.select();
      const done = document.execCommand('copy');
      area.remove();
      if (!done) throw new Error('refused');
    }
    say(`Copied ${what}`);
    return true;
  } catch {
    say(`The browser does not let this page copy ${what}`);
    return false;
  }
}

/// A hash or id: short to look at, whole when copied.
export function hash(value, what, { whole = false } = {}) {
  const full = plain(value, 200);
  if (full === '') return h('span', { class: 'quiet' }, 'none');
  const shown = whole || full.length <= 18 ? full : `${full.slice(0, full.startsWith('0x') ? 10 : 8)}…${full.slice(-6)}`;
  return h('button', {
    class: `hash${whole ? ' whole' : ''}`, type: 'button', title: full, 'aria-label': `Copy ${what} ${shown}`,
    on: {
      click: async (event) => {
        const button = event.currentTarget;
        if (!await copy(full, what)) return;
        button.classList.add('copied');
        setTimeout(() => button.classList.remove('copied'), 1200);
      },
    },
  }, h('span', { class: 'digits' }, shown), h('span', { class: 'done', 'aria-hidden': 'true' }, 'Copied'));
}

/// Names and values; rows without a value are left out.
export const facts = (...rows) => h('dl', { class: 'facts' }, rows.filter((row) => row && row.slice(1).some((value) => value !== null && value !== undefined && value !== '')).map(([name, ...value]) => [
  h('dt', {}, name), h('dd', {}, value),
]));
