// Asks the VMM how things are, every two seconds while somebody looks.
import { Refusal, vmm } from './api.js';
import { changed, say, state } from './state.js';
import { condition } from './condition.js';

const EVERY = 2000;
const WORST = 15000;
// Configurations change by what is done here, and rarely otherwise.
const WHOLE = 30000;

let timer = null;
let whole = 0;
let failures = 0;
let asking = null;

function announce(before, vms) {
  for (const vm of vms) {
    const old = before.get(vm.id);
    if (!old) continue;
    const [was, is] = [condition(old), condition(vm)];
    if (was.word !== is.word) say(`${vm.name}: ${is.word}${is.detail ? `, ${is.detail}` : ''}`);
  }
}

async function once(full) {
  const before = new Map((state.vms || []).map((vm) => [vm.id, vm]));
  const brief = !full && Date.now() - whole < WHOLE;
  let answer = await vmm('Status', { brief });
  if (brief && answer.vms.some((vm) => !before.get(vm.id)?.configuration)) answer = await vmm('Status', {});
  else if (!brief) whole = Date.now();
  announce(before, answer.vms);
  state.vms = answer.vms.map((vm) => ({ ...vm, configuration: vm.configuration || before.get(vm.id)?.configuration || null }));
  state.portMapping = answer.port_mapping_enabled;
  if (!state.version) state.version = await vmm('Version');
  if (!state.meta) state.meta = await vmm('GetMeta');
}

async function round(full) {
  try {
    await once(full);
    if (state.problem) say('The VMM answers again');
    state.problem = null;
    state.answered = Date.now();
    failures = 0;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (!state.problem && error.status !== 401) say(error.message);
    state.problem = error.message;
    failures += 1;
  } finally {
    changed();
  }
}

function next() {
  clearTimeout(timer);
  if (document.hidden || state.signedOut) return;
  timer = setTimeout(() => refresh(false), Math.min(EVERY * 2 ** Math.min(failures, 3), WORST));
}

/// Asks now; `full` with configurations.
export async function refresh(full = false) {
  if (asking && !full) return asking;
  if (asking) await asking.catch(() => {});
  asking = round(full).finally(() => { asking = null; next(); });
  return asking;
}

/// Starts asking.
export function start() {
  document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });
  return refresh(true);
}

/// The images of this node, into the state.
export async function readImages() {
  state.images = (await vmm('ListImages')).images;
  changed();
}

/// The devices of this node, into the state.
export async function readGpus() {
  state.gpus = await vmm('ListGpus');
  changed();
}
