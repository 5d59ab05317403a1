// The console of a Bylaw VMM: chooses the view by the address' fragment and draws it.
import { byId, h, patch } from './dom.js';
import { keepToken, takeToken } from './api.js';
import { changed, drawnBy, state } from './state.js';
import { readGpus, readImages, refresh, start } from './poll.js';
import { condition } from './condition.js';
import { list } from './list.js';
import { vmPage } from './vm.js';
import { create, upgradeOf } from './form.js';
import * as images from './images.js';
import * as logs from './logs.js';
import * as node from './node.js';
import { watch } from './plots.js';
import { look } from './governance.js';
import { clock, words } from './text.js';

const TICK = 1000;
const NAV = [['#/', 'VMs'], ['#/images', 'Images'], ['#/node', 'Node']];
const nodeName = (() => {
  const said = document.querySelector('meta[name=node]')?.content || '';
  return said.startsWith('{{') ? '' : said;
})();

function route() {
  const [view = '', id = '', tab = ''] = window.location.hash.replace(/^#\/?/, '').split('/');
  return { view, id: decodeURIComponent(id), tab };
}

let at = route();

// What a view needs besides the VMs, asked when it is entered.
function arrive(before) {
  const moved = (view) => at.view === view && before?.view !== view;
  if (before?.view === 'images' && at.view !== 'images') images.leave();
  if (moved('images')) images.enter();
  if (moved('node')) node.enter();
  if (at.view === 'new' || (at.view === 'vm' && at.tab === 'upgrade') || at.view === '') {
    Promise.all([readImages(), readGpus()]).catch(() => {});
  }
  if (at.view === 'vm' && at.tab === 'logs') logs.enter(at.id);
  else logs.leave();
  if (before) {
    state.failed = null;
    window.scrollTo(0, 0);
  }
}

function notFound(what) {
  return h('div', { class: 'sheet empty-page' }, h('h1', { tabindex: -1 }, what), h('p', {}, 'It may have been removed. ', h('a', { href: '#/' }, 'See all VMs'), '.'));
}

function view() {
  if (state.vms === null) return h('p', { class: 'loading' }, state.problem ? 'The VMM has not answered yet.' : 'Asking the VMM.');
  if (at.view === '') return h('div', { class: 'view', key: 'list' }, list());
  if (at.view === 'new') return h('div', { class: 'view', key: 'new' }, create());
  if (at.view === 'images') return h('div', { class: 'view', key: 'images' }, images.images());
  if (at.view === 'node') return h('div', { class: 'view', key: 'node' }, node.nodePage());
  if (at.view !== 'vm') return notFound('No such page');
  const vm = state.vms.find((one) => one.id === at.id);
  if (!vm) return notFound('No such VM');
  if (at.tab === 'upgrade') return h('div', { class: 'view', key: `upgrade ${vm.id}` }, upgradeOf(vm));
  return h('div', { class: 'view', key: `vm ${vm.id}` }, vmPage(vm, at.tab));
}

function signIn() {
  const submit = (event) => {
    event.preventDefault();
    keepToken(byId('token').value.trim());
    state.signedOut = false;
    refresh(true).then(() => arrive(null));
  };
  return h('form', { class: 'sheet ask sign-in', key: 'sign-in', novalidate: true, on: { submit } },
    h('h1', { tabindex: -1 }, 'Sign in'), h('p', {}, 'This VMM asks for a token: one of auth.tokens in its vmm.toml. It is kept for this tab only.'),
    h('div', { class: 'field' }, h('label', { class: 'label', for: 'token' }, 'Token'), h('input', { id: 'token', type: 'password', autocomplete: 'current-password', autofocus: true })),
    h('div', { class: 'buttons left' }, h('button', { type: 'submit', class: 'primary' }, 'Sign in')));
}

function banner() {
  if (state.signedOut || !state.problem) return null;
  return h('p', { class: 'banner bad', role: 'alert' }, h('strong', {}, state.answered ? 'Out of date.' : 'No answer.'), ` ${state.problem}. `, state.answered ? `What is shown is of ${clock(state.answered)}; it asks again by itself.` : 'It asks again by itself; check that bylaw-vmm runs on this host.');
}

function title() {
  const vm = at.view === 'vm' ? (state.vms || []).find((one) => one.id === at.id) : null;
  const here = vm ? `${vm.name}: ${condition(vm).word}` : { '': 'VMs', new: 'New VM', images: 'OS images', node: 'Node' }[at.view] || 'VMM';
  return `${state.problem ? 'Stale: ' : ''}${here} · ${nodeName || 'Bylaw VMM'}`;
}

function draw() {
  patch(byId('node'), nodeName ? words(nodeName, 80) : []);
  patch(byId('nav'), h('ul', {}, NAV.map(([href, label]) => h('li', { key: href }, h('a', { href, 'aria-current': (`#/${at.view === 'vm' || at.view === 'new' ? '' : at.view}`) === href ? 'page' : null }, label)))));
  patch(byId('banner'), banner());
  patch(byId('main'), state.signedOut ? signIn() : view());
  patch(byId('foot'), h('p', {}, state.version ? `bylaw-vmm ${state.version.version}. ` : '', 'What confidential VMs hold, this page cannot see; what it shows of them, their host says.'));
  document.title = title();
  const vm = at.view === 'vm' ? (state.vms || []).find((one) => one.id === at.id) : null;
  watch(vm && vm.status === 'running' && at.tab === '' ? vm.id : null);
  if (vm && at.tab === '') look(vm.id);
}

function keys(event) {
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || byId('dialog').open) return;
  if (event.target.closest('input, textarea, select')) return;
  const search = byId('search') || byId('log-search');
  if (!search) return;
  event.preventDefault();
  search.focus();
}

takeToken();
drawnBy(draw);
window.addEventListener('hashchange', () => {
  const before = at;
  at = route();
  arrive(before);
  draw();
  if (before.view !== at.view || before.id !== at.id || (before.tab === 'upgrade') !== (at.tab === 'upgrade')) (byId('main').querySelector('h1') || byId('main')).focus({ preventScroll: true });
});
document.addEventListener('keydown', keys);
setInterval(() => { if (!document.hidden && at.view === 'vm' && at.tab === '') changed(); }, TICK);
arrive(null);
start();
