// All VMs of the node.
import { h } from './dom.js';
import { condition } from './condition.js';
import { changed, state } from './state.js';
import { duration, hash, many, memory, words } from './text.js';

const ONLY = [['', 'all'], ['good', 'running'], ['wait', 'changing'], ['bad', 'in trouble'], ['off', 'stopped']];

function fits(vm) {
  if (state.only && condition(vm).tone !== state.only) return false;
  const wanted = state.keyword.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const here = `${vm.name} ${vm.id} ${vm.app_id} ${vm.instance_id || ''} ${vm.configuration?.image || ''} ${condition(vm).word}`.toLowerCase();
  return wanted.every((one) => here.includes(one));
}

/// Status as a shape, a colour and a word.
export function status(vm) {
  const { tone, word } = condition(vm);
  return h('span', { class: `status ${tone}` }, word);
}

function row(vm) {
  const { tone, word, detail } = condition(vm);
  const last = word === 'Booting' && vm.events?.length ? Math.max(...vm.events.map((event) => event.timestamp)) : 0;
  const made = vm.configuration;
  return h('li', { class: 'vm', key: vm.id },
    h('div', { class: 'who' }, h('a', { href: `#/vm/${vm.id}` }, words(vm.name, 80)), h('span', { class: 'quiet' }, made ? words(made.image, 60) : '')),
    h('div', { class: 'how' }, status(vm), h('span', { class: `detail ${tone === 'bad' ? 'bad' : 'quiet'}` }, detail ? [words(detail, 120), last > 0 && h('span', { class: 'since' }, `, ${duration(Date.now() - last)}`)] : vm.status === 'running' && vm.uptime !== 'never' ? `for ${vm.uptime}` : '')),
    h('div', { class: 'what quiet' }, made ? `${made.vcpu} vCPU, ${memory(made.memory)}, ${made.disk_size} GB disk${made.gpus?.attach_mode === 'all' ? ', all GPUs' : made.gpus?.gpus?.length ? `, ${many(made.gpus.gpus.length, 'GPU')}` : ''}` : ''),
    h('div', { class: 'where' }, h('span', { class: 'quiet' }, 'app '), hash(vm.app_id, `app id of ${vm.name}`)));
}

function meters() {
  const up = state.vms.filter((vm) => vm.status === 'running');
  const sum = (name) => up.reduce((total, vm) => total + (vm.configuration?.[name] || 0), 0);
  const limits = state.meta?.resources || {};
  const meter = (label, value, most, said) => h('div', { key: label }, h('dt', {}, label),
    h('dd', {}, said, most > 0 && h('svg', { class: 'bar', viewBox: '0 0 100 1', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, h('rect', { class: 'rest', width: 100, height: 1 }), h('rect', { class: value > most ? 'over' : 'used', width: Math.min(100, (100 * value) / most).toFixed(1), height: 1 }))));
  return h('dl', { class: 'glance' },
    meter('VMs', up.length, 0, `${up.length} running of ${state.vms.length}`),
    meter('Virtual CPUs in use', sum('vcpu'), limits.max_allocable_vcpu, limits.max_allocable_vcpu ? `${sum('vcpu')} of ${limits.max_allocable_vcpu}` : `${sum('vcpu')}`),
    meter('Memory in use', sum('memory'), limits.max_allocable_memory_in_mb, limits.max_allocable_memory_in_mb ? `${memory(sum('memory'))} of ${memory(limits.max_allocable_memory_in_mb)}` : memory(sum('memory'))));
}

/// The view.
export function list() {
  const shown = state.vms.filter(fits);
  const empty = state.vms.length === 0;
  const count = (tone) => state.vms.filter((vm) => condition(vm).tone === tone).length;
  return [
    h('div', { class: 'title-row', key: 'title' }, h('h1', { tabindex: -1 }, 'Virtual machines'), h('a', { class: 'button primary', href: '#/new' }, 'New VM')),
    empty ? h('div', { class: 'sheet empty-page', key: 'none' },
      h('h2', {}, 'No VMs yet'),
      state.images?.length === 0
        ? h('p', {}, 'A VM starts from an OS image, and this node has none. ', h('a', { href: '#/images' }, 'Pull one from the registry'), ', or copy an image folder below the image path and come back.')
        : h('p', {}, h('a', { href: '#/new' }, 'Create the first one'), ' from a docker-compose.yaml. In a terminal: ', h('code', {}, 'bylaw deploy compose.yaml'), '.'))
      : [
        meters(),
        h('div', { class: 'filters', role: 'search', key: 'filters' },
          h('label', { class: 'unseen', for: 'search' }, 'Search VMs by name, id, app, image or status'),
          h('input', { id: 'search', type: 'search', placeholder: 'Search   /', value: state.keyword, on: { input: (event) => { state.keyword = event.target.value; changed(); } } }),
          h('div', { class: 'switch', role: 'group', 'aria-label': 'Which VMs' }, ONLY.map(([tone, label]) => h('button', {
            type: 'button', key: label, 'aria-pressed': String(state.only === tone), on: { click: () => { state.only = tone; changed(); } },
          }, label, tone && h('span', { class: 'count' }, ` ${count(tone)}`))))),
        h('ul', { class: 'sheet vms', key: 'vms', 'aria-label': 'Virtual machines' }, shown.map(row)),
        shown.length === 0 && h('p', { class: 'empty', key: 'nothing' }, 'No VM fits. ', h('button', { type: 'button', class: 'link', on: { click: () => { state.keyword = ''; state.only = ''; changed(); } } }, 'Show all'), '.'),
        shown.length > 0 && shown.length < state.vms.length && h('p', { class: 'quiet', key: 'some' }, `${shown.length} of ${many(state.vms.length, 'VM')}.`),
      ],
  ];
}
