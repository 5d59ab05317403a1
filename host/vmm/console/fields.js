// Parts of the create and upgrade forms. Each draws from a draft and says when the draft changed.
import { h } from './dom.js';
import { plain, tag } from './text.js';
import { state } from './state.js';

const described = (id, note, wrong) => [note && `${id}-note`, wrong && `${id}-wrong`].filter(Boolean).join(' ') || null;

function frame(id, label, control, note, wrong, kind = '') {
  return h('div', { class: `field ${kind}`, key: id },
    h('label', { class: 'label', for: id }, label), control,
    note && h('span', { class: 'note', id: `${id}-note` }, note),
    wrong && h('span', { class: 'wrong', id: `${id}-wrong` }, wrong));
}

/// A line of text or a number.
export function input({ id, label, value, change, note, wrong, type = 'text', kind, ...rest }) {
  return frame(id, label, h('input', {
    id, type, value, autocomplete: 'off', spellcheck: 'false', 'aria-invalid': wrong ? 'true' : null, 'aria-describedby': described(id, note, wrong), ...rest,
    ...(type === 'number' ? { inputmode: 'numeric', step: 1 } : {}),
    on: { input: (event) => change(type === 'number' ? (event.target.value === '' ? '' : Math.trunc(Number(event.target.value))) : event.target.value) },
  }), note, wrong, kind);
}

/// Several lines of text.
export function lines({ id, label, value, change, note, wrong, rows = 3, kind, ...rest }) {
  return frame(id, label, h('textarea', {
    id, rows, value, spellcheck: 'false', autocapitalize: 'off', autocomplete: 'off', 'aria-invalid': wrong ? 'true' : null, 'aria-describedby': described(id, note, wrong), ...rest,
    on: { input: (event) => change(event.target.value) },
  }), note, wrong, kind);
}

/// One of several; options are `[value, text]`.
export function choice({ id, label, value, options, change, note, wrong, kind }) {
  return frame(id, label, h('select', { id, value, 'aria-invalid': wrong ? 'true' : null, 'aria-describedby': described(id, note, wrong), on: { change: (event) => change(event.target.value) } },
    options.map(([one, text]) => h('option', { value: one, key: one }, text))), note, wrong, kind);
}

/// Yes or no.
export function tick({ id, label, checked, change, note, disabled = false }) {
  return h('div', { class: 'tick', key: id },
    h('input', { id, type: 'checkbox', checked, disabled, 'aria-describedby': note ? `${id}-note` : null, on: { change: (event) => change(event.target.checked) } }),
    h('label', { for: id }, label), note && h('span', { class: 'note', id: `${id}-note` }, note));
}

const away = (label, click) => h('button', { type: 'button', class: 'plain away', 'aria-label': label, title: label, on: { click } }, '\u00d7');

/// Ports of the host that lead into the VM.
export function ports(draft, touched, errors, published) {
  if (!state.portMapping) {
    return h('p', { class: 'empty' }, 'This node maps no ports: set cvm.port_mapping in vmm.toml to open some. Apps are still reached through a gateway.');
  }
  const add = (vm, protocol) => { draft.ports.push({ protocol, host_address: '', host_port: vm || '', vm_port: vm || '' }); touched(); };
  const open = published.filter((one) => !draft.ports.some((port) => port.vm_port === one.vm && port.protocol === one.protocol))
    .filter((one, i, all) => all.findIndex((other) => other.vm === one.vm && other.protocol === one.protocol) === i);
  return [
    draft.ports.length === 0 && h('p', { class: 'empty' }, 'None yet. A port of this host that leads to a port the app publishes.'),
    h('ul', { class: 'rows' }, draft.ports.map((port, i) => h('li', { class: 'port-row', key: `port ${i}` },
      choice({ id: `port-${i}-protocol`, label: 'Protocol', value: port.protocol, options: [['tcp', 'TCP'], ['udp', 'UDP']], change: (value) => { port.protocol = value; touched(); } }),
      input({ id: `port-${i}-address`, label: 'Host address', value: port.host_address, placeholder: draft.vm ? '127.0.0.1' : 'node\u2019s default', change: (value) => { port.host_address = value.trim(); touched(); } }),
      input({ id: `port-${i}-host`, label: 'Host port', type: 'number', min: 1, max: 65535, value: port.host_port, wrong: errors.get(`port-${i}-host`), change: (value) => { port.host_port = value; touched(); } }),
      input({ id: `port-${i}-vm`, label: 'VM port', type: 'number', min: 1, max: 65535, value: port.vm_port, wrong: errors.get(`port-${i}-vm`), change: (value) => { port.vm_port = value; touched(); } }),
      away(`Remove port ${i + 1}`, () => { draft.ports.splice(i, 1); touched(); })))),
    h('div', { class: 'buttons left' },
      h('button', { type: 'button', class: 'plain', on: { click: () => add(0, 'tcp') } }, 'Add a port'),
      open.slice(0, 5).map((one) => h('button', { type: 'button', class: 'plain', key: `map ${one.vm}/${one.protocol}`, on: { click: () => add(one.vm, one.protocol) } }, `Map ${one.vm}/${one.protocol}`))),
  ];
}

/// Devices of the host.
export function gpus(draft, touched) {
  const found = state.gpus ? state.gpus.gpus : null;
  if (found === null) return h('p', { class: 'empty' }, 'Asking which devices this node lends.');
  if (found.length === 0) return h('p', { class: 'empty' }, 'This node lends no GPUs: cvm.gpu in vmm.toml says which it may.');
  const all = draft.gpus.attach_mode === 'all';
  return [
    state.gpus.allow_attach_all && tick({ id: 'gpu-all', label: 'All of them, with their NVSwitches', checked: all, change: (on) => { draft.gpus.attach_mode = on ? 'all' : 'listed'; touched(); } }),
    found.map((gpu) => {
      const mine = draft.gpus.slots.includes(gpu.slot);
      return h('div', { class: 'line-up device', key: gpu.slot },
        tick({
          id: `gpu-${gpu.slot}`, label: [h('code', {}, gpu.slot), ' ', plain(gpu.description || gpu.product_id)], checked: all || mine, disabled: all,
          change: (on) => { draft.gpus.slots = on ? [...draft.gpus.slots, gpu.slot] : draft.gpus.slots.filter((slot) => slot !== gpu.slot); touched(); },
        }),
        gpu.is_free ? tag('good', 'free') : mine ? tag('off', 'this VM\u2019s') : tag('wait', 'in use'));
    }),
  ];
}

/// Interfaces of the VM.
export function networks(draft, touched) {
  const offer = state.meta?.networking || {};
  const modes = offer.supported_modes?.length ? offer.supported_modes : ['user', 'bridge'];
  return [
    draft.networks.length === 0 && h('p', { class: 'empty' }, `One interface, as the node has it by default${offer.default_mode ? ` (${offer.default_mode}${offer.default_mode === 'bridge' && offer.default_bridge ? ` ${offer.default_bridge}` : ''})` : ''}.`),
    h('ul', { class: 'rows' }, draft.networks.map((one, i) => h('li', { class: 'net-row', key: `net ${i}` },
      choice({ id: `net-${i}-mode`, label: `Interface ${i + 1}`, value: one.mode, options: modes.map((mode) => [mode, mode]), change: (value) => { one.mode = value; touched(); } }),
      one.mode === 'bridge' && input({ id: `net-${i}-bridge`, label: 'Bridge', value: one.bridge_name, placeholder: offer.default_bridge || 'br0', change: (value) => { one.bridge_name = value.trim(); touched(); } }),
      away(`Remove interface ${i + 1}`, () => { draft.networks.splice(i, 1); touched(); })))),
    h('div', { class: 'buttons left' }, h('button', { type: 'button', class: 'plain', on: { click: () => { draft.networks.push({ mode: offer.default_mode || modes[0], bridge_name: '' }); touched(); } } }, draft.networks.length === 0 ? 'Choose interfaces' : 'Add an interface')),
  ];
}
