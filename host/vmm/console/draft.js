// What a form holds until the VMM has taken it: never lost to an error, a reload or another view.
import { allowedNames, change, check, fresh, goodName, takesAnonymousEnv } from './manifest.js';
import { read } from './env.js';
import { state } from './state.js';

const STORE = 'bylaw-vmm-draft';
const drafts = new Map();

const common = {
  ports: [], networks: [], kms_urls: '', gateway_urls: '', tee: 'hardware', user_config: '', env: '', sealed: null, sealedName: '',
  view: 'guided', brought: [], names: null, error: null, busy: false, tried: false, hash: null, serverHash: null, serverError: null,
};

/// A draft for a new VM; what was typed before a reload is there again, except for the environment.
export function forNew() {
  if (drafts.has('new')) return drafts.get('new');
  const draft = {
    ...structuredClone(common), name: '', image: '', vcpu: 1, memory: 2048, disk_size: 20, text: JSON.stringify(fresh(), null, 4),
    gpus: { attach_mode: 'listed', slots: [] }, app_id: '', hugepages: false, pin_numa: false, stopped: false,
  };
  try {
    Object.assign(draft, JSON.parse(sessionStorage.getItem(STORE) || '{}'));
  } catch { /* What cannot be read is not worth keeping. */ }
  drafts.set('new', draft);
  return draft;
}

const teeOf = (configuration) => (configuration.simulated_tee ? 'simulated' : configuration.no_tee ? 'none' : 'hardware');

/// A draft for changes to a VM.
export function forVm(vm) {
  if (drafts.has(vm.id)) {
    const draft = drafts.get(vm.id);
    draft.vm = vm;
    return draft;
  }
  const now = vm.configuration;
  const draft = {
    ...structuredClone(common), vm, was: structuredClone(now), name: vm.name, image: now.image, vcpu: now.vcpu, memory: now.memory, disk_size: now.disk_size, text: now.compose_file,
    ports: structuredClone(now.ports), networks: structuredClone(now.networks?.length ? now.networks : now.networking ? [now.networking] : []),
    gpus: { attach_mode: now.gpus?.attach_mode || 'listed', slots: (now.gpus?.gpus || []).map((gpu) => gpu.slot) },
    kms_urls: now.kms_urls.join('\n'), gateway_urls: now.gateway_urls.join('\n'), tee: teeOf(now), user_config: now.user_config || '', app_id: vm.app_id,
  };
  drafts.set(vm.id, draft);
  return draft;
}

/// Forgets a draft: it was taken, or given up.
export function forget(draft) {
  drafts.delete(draft.vm ? draft.vm.id : 'new');
  if (!draft.vm) sessionStorage.removeItem(STORE);
}

/// Keeps a new VM's draft over a reload: everything but the environment, which is secret.
export function keep(draft) {
  if (draft.vm) return;
  const { env, sealed, sealedName, error, busy, tried, names, hash, serverHash, serverError, hashed, warned, insisted, ...rest } = draft;
  try {
    sessionStorage.setItem(STORE, JSON.stringify(rest));
  } catch { /* Full: the draft lives on in memory. */ }
}

const urls = (text) => text.split(/\s+/).filter(Boolean);
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const portMessages = (draft) => draft.ports.map((port) => ({ ...port, host_address: port.host_address || (draft.vm ? '127.0.0.1' : '') }));
const gpuMessage = (draft) => (draft.gpus.attach_mode === 'all' ? { attach_mode: 'all', gpus: [] } : { attach_mode: 'listed', gpus: draft.gpus.slots.map((slot) => ({ slot })) });

// A host port that another VM, or another row, has already.
function taken(draft, i) {
  const port = draft.ports[i];
  const clash = (other) => other.protocol === port.protocol && other.host_port === port.host_port
    && (other.host_address === port.host_address || ['', '0.0.0.0', '::'].includes(other.host_address) || ['', '0.0.0.0', '::'].includes(port.host_address));
  if (draft.ports.some((other, j) => j < i && clash(other))) return 'another row has this port';
  const vm = (state.vms || []).find((one) => one.id !== draft.vm?.id && (one.configuration?.ports || []).some(clash));
  return vm ? `${vm.name} has this port` : '';
}

/// What keeps a draft from being sent: messages by the id of their control.
export function faults(draft, checked) {
  const out = new Map();
  const limits = state.meta?.resources || {};
  const whole = (id, value, least, most, unit) => {
    if (!Number.isInteger(value) || value < least) out.set(id, `at least ${least} ${unit}`);
    else if (most && value > most) out.set(id, `this node lends at most ${most} ${unit}`);
  };
  if (!draft.vm) {
    if (draft.name.trim() === '') out.set('f-name', 'a name, so that people can tell it apart');
    else if (!goodName(draft.name)) out.set('f-name', 'letters, digits and -_. @~!$^() only');
    if (!draft.image) out.set('f-image', 'choose an OS image');
  }
  whole('f-vcpu', draft.vcpu, 1, limits.max_allocable_vcpu, 'virtual CPUs');
  whole('f-memory', draft.memory, 128, limits.max_allocable_memory_in_mb, 'MB');
  whole('f-disk', draft.disk_size, 1, 0, 'GB');
  if (draft.vm && draft.disk_size < draft.was.disk_size) out.set('f-disk', `a disk only grows: it has ${draft.was.disk_size} GB`);
  const editor = draft.view === 'guided' && typeof checked.manifest?.docker_compose_file === 'string' ? 'f-yaml' : 'f-json';
  const broken = (problems) => problems.find((one) => one.level === 'error');
  const first = broken(checked.problems) || (draft.insisted === draft.text ? null : broken(checked.yaml.problems));
  if (first && (!draft.vm || draft.text !== draft.was.compose_file)) out.set(editor, `line ${first.line}: ${first.text}`);
  draft.ports.forEach((port, i) => {
    for (const [id, value] of [[`port-${i}-host`, port.host_port], [`port-${i}-vm`, port.vm_port]]) {
      if (!Number.isInteger(value) || value < 1 || value > 65535) out.set(id, '1 to 65535');
    }
    const by = out.has(`port-${i}-host`) ? '' : taken(draft, i);
    if (by) out.set(`port-${i}-host`, by);
  });
  if (draft.app_id && !/^(0x)?[0-9a-f]{40}$/i.test(draft.app_id)) out.set('f-app-id', '40 hexadecimal digits');
  for (const [id, text] of [['f-kms', draft.kms_urls], ['f-gateway', draft.gateway_urls]]) {
    const bad = urls(text).find((one) => !/^https?:\/\/[^/]/.test(one));
    if (bad) out.set(id, `${bad} is no http:// or https:// address`);
  }
  const env = read(draft.env);
  if (env.problems.length > 0) out.set('f-env', env.problems[0]);
  const names = checked.manifest?.allowed_envs;
  const stray = Array.isArray(names) ? env.entries.find((one) => !names.includes(one.key)) : null;
  if (stray) out.set('f-env', `${stray.key} is not in allowed_envs of the manifest, so the guest would drop it`);
  if (env.entries.length > 0 && checked.manifest && !takesAnonymousEnv(checked.manifest)) out.set('f-env', 'this app opens signed environments only: make one with "bylaw env encrypt" and choose the file');
  return out;
}

/// Whether all that is wrong is how the compose file looks, which the guest may see differently.
export const debatable = (wrong, checked) => wrong.size === 1 && (wrong.has('f-yaml') || wrong.has('f-json')) && !checked.problems.some((one) => one.level === 'error');

/// CreateVm's message, without the environment.
export const creation = (draft) => ({
  name: draft.name.trim(), image: draft.image, compose_file: draft.text, vcpu: draft.vcpu, memory: draft.memory, disk_size: draft.disk_size,
  ports: portMessages(draft), app_id: draft.app_id ? draft.app_id.replace(/^0x/i, '').toLowerCase() : null, user_config: draft.user_config,
  hugepages: draft.hugepages, pin_numa: draft.pin_numa, gpus: gpuMessage(draft), kms_urls: urls(draft.kms_urls), gateway_urls: urls(draft.gateway_urls),
  stopped: draft.stopped, no_tee: draft.tee !== 'hardware', simulated_tee: draft.tee === 'simulated' ? 'tdx' : null, networks: draft.networks,
});

/// UpgradeApp's message with what changed only, and the changes in words.
export function upgrade(draft) {
  const { vm, was } = draft;
  const message = { id: vm.id };
  const words = [];
  const set = (word, fields) => { Object.assign(message, fields); words.push(word); };
  if (draft.text !== was.compose_file) set('the app\u2019s manifest', { compose_file: draft.text });
  if (draft.user_config !== (was.user_config || '') && draft.user_config !== '') set('the user configuration', { user_config: draft.user_config });
  if (!same(portMessages(draft), was.ports)) set('ports', { update_ports: true, ports: portMessages(draft) });
  if (!same(urls(draft.kms_urls), was.kms_urls)) set('KMS addresses', { update_kms_urls: true, kms_urls: urls(draft.kms_urls) });
  if (!same(urls(draft.gateway_urls), was.gateway_urls)) set('gateway addresses', { update_gateway_urls: true, gateway_urls: urls(draft.gateway_urls) });
  const gpusBefore = { attach_mode: was.gpus?.attach_mode || 'listed', gpus: (was.gpus?.gpus || []).map(({ slot }) => ({ slot })) };
  if (!same(gpuMessage(draft), gpusBefore)) set('GPUs', { gpus: gpuMessage(draft) });
  const netsBefore = was.networks?.length ? was.networks : was.networking ? [was.networking] : [];
  if (!same(draft.networks, netsBefore)) set('networking', { update_networking: true, networks: draft.networks });
  if (teeOf(was) !== draft.tee) set('the TEE', { no_tee: draft.tee !== 'hardware' });
  if (draft.env.trim() !== '' || draft.sealed) set('the environment', {});
  return { message, words };
}

/// Takes the manifest's name from the VM's and its allowed variables from the environment, where the form
/// writes the manifest.
export function follow(draft) {
  const checked = check(draft.text);
  if (draft.view !== 'guided' || !checked.manifest) return;
  const fields = {};
  if (!draft.vm && checked.manifest.name !== draft.name.trim()) fields.name = draft.name.trim();
  // Names that came with the environment go with it; what was there before, or typed, stays.
  const names = read(draft.env).entries.map((one) => one.key);
  const allowed = allowedNames(checked.manifest);
  const wanted = [...allowed.filter((name) => names.includes(name) || !draft.brought.includes(name)), ...names.filter((name) => !allowed.includes(name))];
  draft.brought = [...draft.brought.filter((name) => names.includes(name)), ...names.filter((name) => !allowed.includes(name))];
  if (!same(wanted, allowed)) fields.allowed_envs = wanted;
  if (Object.keys(fields).length > 0) draft.text = change(draft.text, fields);
}
