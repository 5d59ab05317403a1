// What changes a VM. What destroys something asks first, and names what it destroys.
import { byId, h, patch } from './dom.js';
import { Refusal, vmm } from './api.js';
import { hint, isDown, isUp } from './condition.js';
import { changed, go, say, state } from './state.js';
import { refresh } from './poll.js';

/// A refusal as a box: what, and what to do.
export function refusal(error, title) {
  if (!error) return null;
  const message = error instanceof Refusal || error instanceof Error ? error.message : String(error);
  const advice = hint(message);
  return h('div', { class: 'trouble', role: 'alert', key: 'refusal' },
    h('p', {}, h('strong', {}, title)), h('p', { class: 'said' }, message), advice && h('p', {}, advice));
}

/// Opens a dialog. `fields` draws its middle and may answer false from `ready`; `act` does it.
export function open({ title, text, verb, tone = 'danger', fields = null, ready = () => true, act, done }) {
  const opener = document.activeElement;
  const dialog = { busy: false, error: null };
  const element = byId('dialog');
  const close = () => {
    state.dialog = null;
    element.close();
    patch(element, []);
    if (opener && opener.isConnected) opener.focus();
  };
  const submit = async (event) => {
    event.preventDefault();
    if (dialog.busy || !ready()) return;
    dialog.busy = true;
    dialog.error = null;
    drawDialog();
    try {
      await act();
      close();
      if (done) done();
    } catch (error) {
      dialog.error = error;
      dialog.busy = false;
      drawDialog();
    }
  };
  const drawDialog = () => patch(element, h('form', { class: 'ask', key: title, novalidate: true, on: { submit } },
    h('h2', { id: 'dialog-title' }, title),
    [].concat(text).map((paragraph) => h('p', {}, paragraph)),
    fields && fields(),
    refusal(dialog.error, 'The VMM refused'),
    h('div', { class: 'buttons' },
      h('button', { type: 'button', class: 'plain', on: { click: close } }, 'Cancel'),
      h('button', { type: 'submit', class: tone, disabled: dialog.busy || !ready() }, dialog.busy ? 'Working…' : verb))));
  state.dialog = drawDialog;
  drawDialog();
  element.oncancel = (event) => { event.preventDefault(); close(); };
  element.showModal();
  (element.querySelector('input, select') || element.querySelector('button')).focus();
}

async function call(vm, method, done) {
  await vmm(method, { id: vm.id });
  say(done);
  await refresh(true);
}

// A click that cannot destroy anything; what goes wrong is shown on the page.
export async function quick(vm, method, done) {
  state.busy.add(vm.id);
  state.failed = null;
  changed();
  try {
    await call(vm, method, done);
  } catch (error) {
    state.failed = { id: vm.id, error, title: `${vm.name} could not be ${done.split(' ').pop()}` };
    say(error.message);
  }
  state.busy.delete(vm.id);
  changed();
}

/// Ends a VM's process at once.
export function stop(vm) {
  open({
    title: `Stop ${vm.name} at once?`,
    text: ['Like pulling the plug: programs in it get no chance to write what they hold. Its disk is kept. Shut down is gentler.'],
    verb: `Stop ${vm.name}`,
    act: () => call(vm, 'StopVm', `${vm.name} was told to stop`),
  });
}

/// Asks the guest to power off.
export function shutDown(vm) {
  open({
    title: `Shut down ${vm.name}?`,
    text: ['The guest stops its containers and powers off. Its disk is kept; start it again at any time.'],
    verb: `Shut down ${vm.name}`,
    tone: 'primary',
    act: () => call(vm, 'ShutdownVm', `${vm.name} was asked to shut down`),
  });
}

/// Removes a VM with its disk, once its name was typed.
export function remove(vm) {
  let typed = '';
  const right = () => typed.trim() === vm.name.trim();
  open({
    title: `Remove ${vm.name}?`,
    text: [
      `This deletes its disk and everything on it. Nothing brings it back.${isUp(vm) ? ' It runs right now and will be stopped.' : ''}`,
      h('span', {}, 'Type ', h('strong', { class: 'name' }, vm.name), ' to confirm.'),
    ],
    verb: `Remove ${vm.name}`,
    fields: () => h('label', { class: 'field' }, h('span', { class: 'label' }, 'Name of the VM'),
      h('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', value: typed, on: { input: (event) => { typed = event.target.value; state.dialog(); } } })),
    ready: right,
    act: () => call(vm, 'RemoveVm', `${vm.name} is being removed`),
    done: () => go('#/'),
  });
}

/// Changes the resources of a VM that is off.
export function resize(vm) {
  const now = vm.configuration || {};
  const draft = { vcpu: now.vcpu, memory: now.memory, disk_size: now.disk_size, image: now.image };
  const images = [...new Set([now.image, ...(state.images || []).map((one) => one.name)])].filter(Boolean);
  const limits = state.meta?.resources || {};
  const changes = () => {
    const out = {};
    for (const name of ['vcpu', 'memory', 'disk_size', 'image']) if (draft[name] !== now[name]) out[name] = draft[name];
    return out;
  };
  const wrong = () => {
    if (!(draft.vcpu >= 1)) return 'At least one virtual CPU.';
    if (limits.max_allocable_vcpu && draft.vcpu > limits.max_allocable_vcpu) return `This node lends at most ${limits.max_allocable_vcpu} virtual CPUs.`;
    if (!(draft.memory >= 128)) return 'At least 128 MB of memory.';
    if (limits.max_allocable_memory_in_mb && draft.memory > limits.max_allocable_memory_in_mb) return `This node lends at most ${limits.max_allocable_memory_in_mb} MB.`;
    if (draft.disk_size < now.disk_size) return `A disk only grows: it has ${now.disk_size} GB.`;
    return '';
  };
  const field = (name, label, note) => h('label', { class: 'field' }, h('span', { class: 'label' }, label),
    h('input', { type: 'number', min: 1, step: 1, inputmode: 'numeric', value: draft[name] ?? '', on: { input: (event) => { draft[name] = Math.trunc(Number(event.target.value)); state.dialog(); } } }),
    h('span', { class: 'note' }, note));
  open({
    title: `Resize ${vm.name}`,
    text: [isDown(vm) ? 'Takes effect at its next start.' : 'It must be off for this: shut it down first.'],
    verb: 'Resize',
    tone: 'primary',
    fields: () => [
      h('div', { class: 'row3' },
        field('vcpu', 'Virtual CPUs', `now ${now.vcpu}`), field('memory', 'Memory (MB)', `now ${now.memory}`), field('disk_size', 'Disk (GB)', `now ${now.disk_size}; only grows`)),
      h('label', { class: 'field' }, h('span', { class: 'label' }, 'OS image'),
        h('select', { value: draft.image, on: { change: (event) => { draft.image = event.target.value; state.dialog(); } } }, images.map((name) => h('option', { value: name, key: name }, name))),
        draft.image !== now.image && h('span', { class: 'note' }, 'Another image has other measurements: the contract must allow them, or there are no keys.')),
      wrong() && h('p', { class: 'wrong', role: 'alert' }, wrong()),
    ],
    ready: () => isDown(vm) && wrong() === '' && Object.keys(changes()).length > 0,
    act: async () => {
      await vmm('ResizeVm', { id: vm.id, ...changes() });
      say(`${vm.name} is resized`);
      await refresh(true);
    },
  });
}
