// One VM: how it is, what it does, what it is made from.
import { h } from './dom.js';
import { quick, refusal, remove, resize, shutDown, stop } from './actions.js';
import { condition, isDown, trouble } from './condition.js';
import { timeline } from './timeline.js';
import { governed } from './governance.js';
import { lastAnswer, plots } from './plots.js';
import { logs } from './logs.js';
import { status } from './list.js';
import { knownHash, parse } from './manifest.js';
import { state } from './state.js';
import { facts, hash, memory, plain, tag, words } from './text.js';

const TABS = [['', 'Overview'], ['logs', 'Logs'], ['setup', 'Configuration']];

function actions(vm) {
  const down = isDown(vm);
  const gone = vm.status === 'removing';
  const button = (label, click, tone = 'plain', disabled = false, title = null) => h('button', { type: 'button', key: label, class: tone, disabled: disabled || gone || state.busy.has(vm.id), title, on: { click } }, label);
  return h('div', { class: 'buttons left', role: 'group', 'aria-label': `Actions on ${plain(vm.name, 60)}` },
    down ? button(state.busy.has(vm.id) ? 'Starting…' : 'Start', () => quick(vm, 'StartVm', `${vm.name} is started`), 'primary')
      : [button('Shut down', () => shutDown(vm), 'plain', vm.status === 'stopping'), button('Stop', () => stop(vm))],
    h('a', { class: 'button plain', key: 'upgrade', href: `#/vm/${vm.id}/upgrade` }, 'Upgrade'),
    button('Resize', () => resize(vm), 'plain', !down, down ? null : 'Shut it down first: resources change only while it is off'),
    button('Remove', () => remove(vm), 'plain bad'));
}

// Open web ports of an app, as addresses of this host.
function ports(vm) {
  const mapped = vm.configuration?.ports || [];
  if (mapped.length === 0) return h('p', { class: 'empty' }, 'None. Add some under Upgrade to reach the app through this host.');
  const loopback = (host) => host === 'localhost' || host === '::1' || host.startsWith('127.');
  return h('ul', { class: 'plain-list' }, mapped.map((port) => {
    const address = port.host_address || '127.0.0.1';
    const host = ['0.0.0.0', '::', ''].includes(address) ? window.location.hostname : address;
    const to = `${address}:${port.host_port}`;
    // A loopback address of the host is another machine's for who looks from there.
    const reachable = port.protocol === 'tcp' && vm.status === 'running' && (!loopback(host) || loopback(window.location.hostname));
    return h('li', { key: `${port.protocol} ${to}` },
      reachable ? h('a', { href: `http://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${port.host_port}/`, target: '_blank', rel: 'noopener noreferrer' }, to) : to,
      h('span', { class: 'quiet' }, ` → port ${port.vm_port} of the VM, ${plain(port.protocol, 8)}`));
  }));
}

function containers(vm) {
  if (vm.status !== 'running') return h('p', { class: 'empty' }, 'They run once the VM does.');
  if (condition(vm).word === 'Booting') return h('p', { class: 'empty' }, 'They start once the guest has booted.');
  const answer = lastAnswer(vm.id);
  if (!answer || (!answer.containers && !answer.error)) return h('p', { class: 'quiet' }, 'Asking the guest.');
  const failed = answer.error || answer.containers?.error;
  const found = answer.containers?.containers;
  if (!found) return h('p', { class: 'empty' }, 'The guest does not list them yet: ', h('span', { class: 'said' }, words(failed, 300)));
  if (found.length === 0) return h('p', { class: 'empty' }, 'None yet: images may still be on their way. The serial log shows what docker compose does.');
  return h('ul', { class: 'plain-list containers' }, found.map((one) => h('li', { key: one.id },
    h('div', { class: 'line-up' }, h('strong', {}, words((one.names[0] || one.id.slice(0, 12)).replace(/^\//, ''), 80)),
      tag(one.state === 'running' ? 'good' : one.state === 'exited' && /\(0\)/.test(one.status) ? 'off' : 'bad', plain(one.state, 30)), h('span', { class: 'quiet' }, words(one.status, 80))),
    h('div', { class: 'quiet' }, h('code', {}, words(one.image, 200))))));
}

const part = (title, ...content) => h('section', { class: 'part', key: title }, h('h2', {}, title), h('div', { class: 'body' }, content));

function overview(vm, now) {
  const how = condition(vm);
  return h('div', { class: 'columns', key: 'overview' },
    h('div', { class: 'column' },
      part('Boot', timeline(vm, now)),
      part('Resources', vm.status === 'running' ? plots(vm.id, how.word === 'Booting') : h('p', { class: 'empty' }, 'Drawn while the VM runs.')),
      part('Containers', containers(vm))),
    h('div', { class: 'column' },
      part('Governance', governed(vm, now)),
      part('Ports', ports(vm)),
      part('Identity', facts(
        ['App', hash(vm.app_id, 'app id')], ['Compose hash', vm.configuration && hash(knownHash(vm.name, vm.configuration.compose_file) || '', 'compose hash')], ['Instance', vm.instance_id ? hash(vm.instance_id, 'instance id') : h('span', { class: 'quiet' }, 'at its first boot')], ['VM', hash(vm.id, 'VM id')]))));
}

// What people wrote, then the exact bytes around it.
function written(text) {
  const manifest = parse(text).value;
  const block = (label, content) => h('pre', { class: 'text', tabindex: 0, role: 'region', 'aria-label': label }, plain(content, 200000));
  const exact = [h('p', { class: 'note' }, 'The exact text whose SHA-256 is the compose hash.'), block('app-compose.json', text)];
  if (typeof manifest?.docker_compose_file !== 'string') return exact;
  return [
    block('docker-compose.yaml', manifest.docker_compose_file),
    manifest.pre_launch_script && [h('h3', {}, 'Script before the containers start'), block('pre_launch_script', manifest.pre_launch_script)],
    h('details', { key: 'exact' }, h('summary', {}, 'app-compose.json'), exact),
  ];
}

function setup(vm) {
  const made = vm.configuration;
  if (!made) return h('p', { class: 'loading' }, 'Asking for its configuration.');
  const urls = (list, otherwise) => (list.length > 0 ? list.map((url, i) => [i > 0 && h('br', {}), words(url)]) : h('span', { class: 'quiet' }, otherwise?.length ? `the node\u2019s: ${otherwise.join(', ')}` : 'none'));
  const nets = made.networks?.length ? made.networks : made.networking ? [made.networking] : [];
  const listed = (made.gpus?.gpus || []).map((gpu) => gpu.slot);
  return h('div', { class: 'columns', key: 'setup' },
    h('div', { class: 'column' },
      part('App', written(made.compose_file), h('p', {}, h('a', { href: `#/vm/${vm.id}/upgrade` }, 'Change it under Upgrade'), '.'))),
    h('div', { class: 'column' },
      part('Machine', facts(
        ['OS image', words(made.image)], ['Image version', vm.image_version && words(vm.image_version)], ['CPUs', String(made.vcpu)], ['Memory', memory(made.memory)], ['Disk', `${made.disk_size} GB`],
        ['TEE', made.simulated_tee ? [tag('wait', 'simulated'), ' nothing in it is confidential'] : made.no_tee ? [tag('wait', 'none'), ' nothing in it is confidential'] : 'hardware'],
        ['Huge pages', made.hugepages ? 'yes' : 'no'], ['NUMA', made.pin_numa ? 'pinned to its devices' : 'not pinned'],
        ['GPUs', made.gpus?.attach_mode === 'all' ? 'all' : listed.length > 0 ? listed.map((slot) => [h('code', {}, slot), ' ']) : 'none'])),
      part('Network', facts(
        ['Interfaces', nets.length > 0 ? nets.map((net) => `${net.mode || 'default'}${net.bridge_name ? ` ${net.bridge_name}` : ''}`).join(', ') : 'node\u2019s default'],
        ...(vm.interfaces || []).map((one, i) => [`As it runs ${i + 1}`, words(`${one.mode}, ${one.backend}, ${one.mac}${one.bridge_name ? `, ${one.bridge_name}` : ''}`)])), ports(vm)),
      part('Services', facts(['KMS', urls(made.kms_urls, state.meta?.kms?.urls)], ['Gateways', urls(made.gateway_urls, state.meta?.gateway?.urls)],
        ['Environment', made.encrypted_env ? `${made.encrypted_env.length / 2} bytes, encrypted` : 'none'], ['User configuration', made.user_config ? `${made.user_config.length} characters` : 'none']))));
}

/// The view of a VM; `tab` is empty, `logs` or `setup`.
export function vmPage(vm, tab) {
  const now = Date.now();
  const wrong = trouble(vm);
  const how = condition(vm);
  // What a start was refused for and what the VM keeps saying are often the same: once is enough.
  const failed = state.failed?.id === vm.id && state.failed.error.message !== wrong?.said ? state.failed : null;
  return [
    h('div', { class: 'crumb', key: 'crumb' }, h('a', { href: '#/' }, 'Virtual machines')),
    h('div', { class: 'title-row', key: 'title' },
      h('div', {}, h('h1', { tabindex: -1 }, words(vm.name, 80)),
        h('p', { class: 'line-up' }, status(vm), h('span', { class: 'quiet' }, wrong ? '' : how.detail ? words(how.detail, 160) : vm.status === 'running' && vm.uptime !== 'never' ? `for ${vm.uptime}` : vm.exited_at && vm.exited_at !== 'never' ? `for ${vm.exited_at}` : ''),
          vm.app_url && h('a', { href: /^https?:\/\//.test(vm.app_url) ? vm.app_url : null, target: '_blank', rel: 'noopener noreferrer' }, words(vm.app_url, 120)))),
      actions(vm)),
    (vm.configuration?.no_tee || vm.configuration?.simulated_tee) && h('p', { class: 'banner wait', key: 'plain' }, h('strong', {}, vm.configuration.simulated_tee ? 'Simulated.' : 'No TEE.'), ' Nothing in this VM is confidential: this host can read all of it.'),
    failed && h('div', { key: 'failed' }, refusal(failed.error, failed.title)),
    wrong && h('div', { class: 'trouble', key: 'trouble', role: 'alert' }, h('p', {}, h('strong', {}, wrong.title)), wrong.said && h('p', { class: 'said' }, words(wrong.said, 1500)),
      h('p', {}, wrong.todo, tab !== 'logs' && [' ', h('a', { href: `#/vm/${vm.id}/logs` }, 'Open the logs'), '.'])),
    h('nav', { class: 'tabs', key: 'tabs', 'aria-label': `Views of ${plain(vm.name, 60)}` }, TABS.map(([name, label]) => h('a', { key: label, href: `#/vm/${vm.id}${name ? `/${name}` : ''}`, 'aria-current': tab === name ? 'page' : null }, label))),
    tab === 'logs' ? logs(vm) : tab === 'setup' ? setup(vm) : overview(vm, now),
  ];
}

