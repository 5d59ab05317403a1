// The node: what it lends, what it runs.
import { h } from './dom.js';
import { vmm } from './api.js';
import { readGpus, refresh } from './poll.js';
import { changed, say, state } from './state.js';
import { facts, many, memory, plain, tag, words } from './text.js';

const node = { processes: null, error: null, reloaded: '' };

/// Asks for what only this view shows.
export async function enter() {
  node.reloaded = '';
  try {
    [node.processes] = [(await vmm('SvList')).processes];
    await readGpus();
    node.error = null;
  } catch (error) {
    node.error = error.message;
  }
  changed();
}

async function reload() {
  try {
    const { loaded, updated, removed } = await vmm('ReloadVms');
    node.reloaded = `${many(loaded, 'VM')} new, ${updated} changed, ${removed} gone.`;
    await refresh(true);
  } catch (error) {
    node.reloaded = `Refused: ${error.message}`;
  }
  say(node.reloaded);
  changed();
}

const part = (title, ...content) => h('section', { class: 'part', key: title }, h('h2', {}, title), h('div', { class: 'body' }, content));

function devices() {
  const found = state.gpus?.gpus;
  if (!found) return h('p', { class: 'quiet' }, 'Asking for devices.');
  if (found.length === 0) return h('p', { class: 'empty' }, 'None that this node lends. Enable cvm.gpu in vmm.toml and list the product ids it may.');
  return h('ul', { class: 'plain-list' }, found.map((gpu) => h('li', { class: 'line-up', key: gpu.slot }, h('code', {}, plain(gpu.slot, 20)), words(gpu.description || gpu.product_id, 100), tag(gpu.is_free ? 'good' : 'wait', gpu.is_free ? 'free' : 'in use'))));
}

function processes() {
  if (node.processes === null) return h('p', { class: 'quiet' }, node.error ? words(node.error) : 'Asking for processes.');
  if (node.processes.length === 0) return h('p', { class: 'empty' }, 'No QEMU runs. One appears here for each VM that is started.');
  return h('ul', { class: 'plain-list' }, node.processes.map((one) => h('li', { key: one.id }, h('div', { class: 'line-up' }, h('strong', {}, words(one.name, 80)), tag(one.status === 'running' ? 'good' : one.status === 'stopped' ? 'off' : 'bad', plain(one.status, 120)), one.pid && h('span', { class: 'quiet' }, `pid ${one.pid}`)),
    one.note && h('div', { class: 'quiet' }, words(one.note, 200)))));
}

/// The view.
export function nodePage() {
  const meta = state.meta || {};
  const { resources = {}, kms, gateway, networking } = meta;
  const urls = (list) => (list?.length ? list.map((url, i) => [i > 0 && h('br', {}), words(url)]) : h('span', { class: 'quiet' }, 'none'));
  return [
    h('div', { class: 'title-row', key: 'title' }, h('h1', { tabindex: -1 }, 'Node')),
    h('div', { class: 'columns', key: 'columns' },
      h('div', { class: 'column' },
        part('Lends', facts(['VMs', resources?.max_cvm_number ? `at most ${resources.max_cvm_number}` : null], ['Virtual CPUs', resources?.max_allocable_vcpu ? `at most ${resources.max_allocable_vcpu}` : null], ['Memory', resources?.max_allocable_memory_in_mb ? `at most ${memory(resources.max_allocable_memory_in_mb)}` : null],
          ['Networks', networking?.supported_modes?.length ? `${networking.supported_modes.join(', ')}; by default ${networking.default_mode}` : null], ['Ports', state.portMapping ? 'mapped to VMs' : 'not mapped'])),
        part('GPUs', devices()),
        part('Processes', processes())),
      h('div', { class: 'column' },
        part('Services', facts(['KMS', urls(kms?.urls)], ['Gateways', urls(gateway?.urls)], ['Domain', gateway?.base_domain ? words(`${gateway.base_domain}:${gateway.port}`) : null])),
        part('Version', facts(['VMM', words(state.version?.version || 'unknown')], ['Revision', state.version?.rev ? words(state.version.rev, 60) : null])),
        part('Records', h('p', { class: 'note' }, 'Reads the VMs\u2019 folders again, after somebody changed them by hand.'), h('div', { class: 'buttons left' }, h('button', { type: 'button', class: 'plain', on: { click: reload } }, 'Read again')), node.reloaded && h('p', {}, node.reloaded)))),
  ];
}
