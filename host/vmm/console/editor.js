// A text editor: line numbers, Tab indents, Enter keeps the indentation, problems stand beside their lines.
import { h } from './dom.js';
import { plain } from './text.js';

// Keeps the browser's own undo; the deprecated command is the only way to.
function replace(area, start, end, text) {
  area.setSelectionRange(start, end);
  if (document.execCommand(text === '' ? 'delete' : 'insertText', false, text)) return;
  area.setRangeText(text, start, end, 'end');
  area.dispatchEvent(new Event('input', { bubbles: true }));
}

function indent(area, out) {
  const { value, selectionStart, selectionEnd } = area;
  if (selectionStart === selectionEnd && !out) { replace(area, selectionStart, selectionEnd, '  '); return; }
  const from = value.lastIndexOf('\n', selectionStart - 1) + 1;
  const chosen = value.slice(from, selectionEnd);
  const moved = chosen.split('\n').map((line) => (out ? line.replace(/^ {1,2}/, '') : line === '' ? line : `  ${line}`)).join('\n');
  if (moved === chosen) return;
  const inLine = selectionStart - from;
  replace(area, from, selectionEnd, moved);
  if (selectionStart === selectionEnd) {
    const at = from + Math.max(0, inLine - (chosen.length - moved.length));
    area.setSelectionRange(at, at);
  } else area.setSelectionRange(from, from + moved.length);
}

let leaving = false;

function keydown(event) {
  const area = event.currentTarget;
  if (event.key === 'Escape') { leaving = true; return; }
  if (event.key === 'Tab' && !event.altKey && !event.ctrlKey && !event.metaKey) {
    if (leaving) { leaving = false; return; }
    event.preventDefault();
    indent(area, event.shiftKey);
  } else if (event.key === 'Enter' && !event.ctrlKey && !event.metaKey && !event.isComposing) {
    const before = area.value.slice(area.value.lastIndexOf('\n', area.selectionStart - 1) + 1, area.selectionStart);
    const kept = /^ */.exec(before)[0] + (/[:{[]\s*$/.test(before) ? '  ' : '');
    if (kept === '') return;
    event.preventDefault();
    replace(area, area.selectionStart, area.selectionEnd, `\n${kept}`);
  }
  if (event.key !== 'Shift') leaving = false;
}

/// An editor of `value`; `problems` are `{line, level, text}`.
export function editor({ id, label, value, problems = [], rows = 16, change, note = null, placeholder = null }) {
  const count = value.split('\n').length;
  const marked = new Map();
  for (const one of problems) if (marked.get(one.line) !== 'error') marked.set(one.line, one.level);
  const numbers = Array.from({ length: count }, (_, i) => h('span', { class: marked.get(i + 1) || null }, i + 1));
  const jump = (line) => {
    const area = document.getElementById(id);
    const before = area.value.split('\n').slice(0, line - 1).join('\n').length + (line > 1 ? 1 : 0);
    area.focus();
    area.setSelectionRange(before, before + (area.value.split('\n')[line - 1] || '').length);
    area.scrollTop = Math.max(0, (line - 4) * parseFloat(getComputedStyle(area).lineHeight));
  };
  return h('div', { class: 'editor-field', key: id },
    h('label', { class: 'label', for: id }, label),
    h('div', { class: 'editor' },
      h('div', { class: 'gutter', 'aria-hidden': 'true', id: `${id}-gutter` }, h('div', { class: 'numbers' }, numbers)),
      h('textarea', {
        id, placeholder, rows: Math.max(rows, Math.min(count + 1, 40)), value, wrap: 'off', spellcheck: 'false', autocapitalize: 'off', autocomplete: 'off',
        'aria-describedby': `${id}-keys ${id}-problems`, 'aria-invalid': problems.some((one) => one.level === 'error') ? 'true' : null,
        on: {
          input: (event) => change(event.target.value),
          keydown,
          scroll: (event) => { document.getElementById(`${id}-gutter`).scrollTop = event.target.scrollTop; },
        },
      })),
    h('p', { class: 'note', id: `${id}-keys` }, 'Tab indents, Shift+Tab back; Esc, then Tab leaves the editor.', note && ' ', note),
    h('ul', { class: 'problems', id: `${id}-problems` }, problems.slice(0, 12).map((one) => h('li', { class: one.level, key: `${one.line} ${one.text}` },
      h('button', { type: 'button', class: 'line-number', on: { click: () => jump(one.line) } }, `Line ${one.line}`), ' ', plain(one.text))),
    problems.length > 12 && h('li', { key: 'more' }, `and ${problems.length - 12} more`)));
}
