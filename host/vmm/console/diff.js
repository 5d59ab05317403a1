// What changes between two texts, by line.
import { h } from './dom.js';
import { many } from './text.js';

const AROUND = 2;
const LONGEST = 3000;

// Longest common subsequence of what lies between the common start and the common end.
function compare(before, after) {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < before.length - start && end < after.length - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end += 1;
  const [a, b] = [before.slice(start, before.length - end), after.slice(start, after.length - end)];
  const middle = [];
  if (a.length * b.length > LONGEST * LONGEST / 4) {
    for (const line of a) middle.push(['-', line]);
    for (const line of b) middle.push(['+', line]);
  } else {
    const width = b.length + 1;
    const best = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i -= 1) {
      for (let j = b.length - 1; j >= 0; j -= 1) {
        best[i * width + j] = a[i] === b[j] ? best[(i + 1) * width + j + 1] + 1 : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
      }
    }
    let [i, j] = [0, 0];
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) { middle.push([' ', a[i]]); i += 1; j += 1; }
      else if (i < a.length && (j >= b.length || best[(i + 1) * width + j] >= best[i * width + j + 1])) { middle.push(['-', a[i]]); i += 1; }
      else { middle.push(['+', b[j]]); j += 1; }
    }
  }
  return [...before.slice(0, start).map((line) => [' ', line]), ...middle, ...before.slice(before.length - end).map((line) => [' ', line])];
}

// Manifests keep their compose file as one long string: its lines are what people compare.
function lines(text) {
  return text.split('\n').flatMap((line) => {
    const parts = line.length > 60 ? line.split('\\n') : [line];
    return parts;
  });
}

/// Draws what changes; says so where nothing does.
export function diff(before, after) {
  if (before === after) return h('p', { class: 'empty' }, 'Nothing changes in the manifest: the compose hash stays.');
  const rows = compare(lines(before), lines(after));
  const near = rows.map((_, i) => rows.slice(Math.max(0, i - AROUND), i + AROUND + 1).some(([mark]) => mark !== ' '));
  const count = (mark) => rows.filter((row) => row[0] === mark).length;
  const drawn = [];
  let hidden = 0;
  const fold = () => { if (hidden > 0) drawn.push(h('span', { class: 'gap' }, `… ${many(hidden, 'unchanged line')}`)); hidden = 0; };
  rows.forEach(([mark, line], i) => {
    if (!near[i]) { hidden += 1; return; }
    fold();
    const name = mark === '+' ? 'ins' : mark === '-' ? 'del' : 'span';
    drawn.push(h(name, { class: 'line' }, h('span', { class: 'mark', 'aria-hidden': 'true' }, mark === '-' ? '\u2212' : mark), mark !== ' ' && h('span', { class: 'unseen' }, mark === '+' ? 'added: ' : 'removed: '), line || '\u00a0'));
  });
  fold();
  return h('div', { class: 'diff' }, h('p', { class: 'quiet' }, `${many(count('+'), 'line')} added (+), ${count('-')} removed (\u2212).`), h('div', { class: 'lines', tabindex: 0, role: 'region', 'aria-label': 'What changes' }, drawn));
}
