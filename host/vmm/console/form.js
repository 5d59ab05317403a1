// The create and the upgrade form.
import { h } from './dom.js';
import { allowedNames, change, check, keepsLayout, keyProvider, localHash, providerFields, serverHash } from './manifest.js';
import { encrypt, hex, obstacle, read } from './env.js';
import { creation, debatable, faults, follow, forget, forNew, forVm, keep, upgrade } from './draft.js';
import { choice, gpus, input, lines, networks, ports, tick } from './fields.js';
import { editor } from './editor.js';
import { diff } from './diff.js';
import { refusal } from './actions.js';
import { isDown } from './condition.js';
import { vmm } from './api.js';
import { changed, go, say, state } from './state.js';
import { refresh } from './poll.js';
import { outdated } from './governance.js';
import { hash, memory, tag, words } from './text.js';

const EXAMPLE = 'services:\n  web:\n    image: nginx@sha256:…\n    ports:\n      - "80:80"';

let cannotEncrypt = '';
obstacle().then((reason) => { cannotEncrypt = reason; changed(); });

let timer = null;

// The hash twice: by this browser and by the VMM, which must agree.
function hashSoon(draft) {
  const { text } = draft;
  localHash(text).then((value) => {
    if (draft.text !== text) return;
    draft.hash = value;
    changed();
  });
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const answer = {};
    try {
      answer.hash = await serverHash(draft.name.trim() || 'draft', text);
    } catch (error) {
      answer.error = error.message;
    }
    if (draft.text !== text) return;
    draft.serverHash = answer.hash || null;
    draft.serverError = answer.error || null;
    changed();
  }, 400);
}

function touched(draft) {
  follow(draft);
  keep(draft);
  if (draft.hashed !== draft.text) {
    draft.hashed = draft.text;
    draft.serverHash = null;
    draft.serverError = null;
    hashSoon(draft);
  }
  changed();
}

const composeHash = (draft) => draft.hash || draft.serverHash;
const appId = (draft) => (draft.app_id ? draft.app_id.replace(/^0x/i, '').toLowerCase() : composeHash(draft)?.slice(0, 40) || null);

async function send(draft) {
  const checked = check(draft.text);
  const wrong = faults(draft, checked);
  draft.tried = true;
  draft.error = null;
  // The second click sends what only looks wrong.
  if (debatable(wrong, checked)) {
    if (draft.warned === draft.text) {
      draft.insisted = draft.text;
      wrong.clear();
    } else draft.warned = draft.text;
  }
  if (wrong.size > 0) {
    say(`Not sent: ${[...wrong.values()][0]}`);
    changed();
    const first = document.getElementById([...wrong.keys()][0]);
    first?.closest('details')?.setAttribute('open', '');
    first?.focus();
    return;
  }
  draft.busy = true;
  changed();
  try {
    const { entries } = read(draft.env);
    let id = appId(draft);
    if (!id) id = (await serverHash(draft.name, draft.text)).slice(0, 40);
    const env = draft.sealed || (entries.length > 0 ? await encrypt(id, entries) : '');
    if (draft.vm) await sendUpgrade(draft, env);
    else await sendCreation(draft, env);
  } catch (error) {
    draft.error = error;
    say(`Refused: ${error.message}`);
  }
  draft.busy = false;
  changed();
}

async function sendCreation(draft, env) {
  const { id } = await vmm('CreateVm', { ...creation(draft), encrypted_env: env });
  forget(draft);
  say(`${draft.name} is created`);
  await refresh(true);
  go(`#/vm/${id}`);
}

async function sendUpgrade(draft, env) {
  const { message, words: what } = upgrade(draft);
  const resources = {};
  for (const name of ['vcpu', 'memory', 'disk_size', 'image']) if (draft[name] !== draft.was[name]) resources[name] = draft[name];
  if (Object.keys(resources).length > 0) {
    await vmm('ResizeVm', { id: draft.vm.id, ...resources });
    // Should the rest be refused, this part is done.
    Object.assign(draft.was, resources);
  }
  if (what.length > 0) await vmm('UpgradeApp', { ...message, encrypted_env: env });
  forget(draft);
  // Another manifest, another verdict.
  outdated(draft.vm.id);
  say(`${draft.name} is upgraded`);
  await refresh(true);
  go(`#/vm/${draft.vm.id}`);
}

const part = (title, note, ...content) => h('fieldset', { class: 'part', key: title },
  h('legend', {}, title), note && h('p', { class: 'note' }, note), content);

function resources(draft, errors, update) {
  const limits = state.meta?.resources || {};
  const others = (state.vms || []).filter((vm) => vm.status === 'running' && vm.id !== draft.vm?.id);
  const used = (name) => others.reduce((sum, vm) => sum + (vm.configuration?.[name] || 0), 0);
  const left = (name, most) => (most ? `${most - used(name)} of ${most} not in use` : '');
  const number = (id, label, name, note, more) => input({ id, label, type: 'number', min: 1, value: draft[name], note, wrong: errors.get(id), change: (value) => { draft[name] = value; update(); }, ...more });
  const images = [...new Set([...(draft.vm ? [draft.was.image] : []), ...(state.images || []).map((one) => one.name)])];
  const chosen = (state.images || []).find((one) => one.name === draft.image);
  return [
    state.images && images.length === 0 ? h('p', { class: 'empty' }, 'No OS image on this node yet. ', h('a', { href: '#/images' }, 'Pull one'), ' first.')
      : choice({
        id: 'f-image', label: 'OS image', value: draft.image, options: [['', 'choose'], ...images.map((name) => [name, name])], wrong: errors.get('f-image'),
        note: chosen?.is_dev ? 'A development image: whoever reaches its console is root. Never for secrets.' : draft.vm && draft.image !== draft.was.image ? 'Other measurements: the contract must allow them.' : '',
        change: (value) => { draft.image = value; update(); },
      }),
    h('div', { class: 'row3' },
      number('f-vcpu', 'Virtual CPUs', 'vcpu', left('vcpu', limits.max_allocable_vcpu)),
      number('f-memory', 'Memory (MB)', 'memory', [Number.isInteger(draft.memory) && draft.memory >= 1024 ? memory(draft.memory) : '', left('memory', limits.max_allocable_memory_in_mb)].filter(Boolean).join('; '), { step: 128 }),
      number('f-disk', 'Disk (GB)', 'disk_size', draft.vm ? 'only grows' : 'encrypted; grows later, never shrinks')),
  ];
}

function app(draft, checked, errors, update) {
  const { manifest } = checked;
  const set = (fields) => { draft.text = change(draft.text, fields); update(); };
  const guided = draft.view === 'guided' && manifest && typeof manifest.docker_compose_file === 'string';
  const flag = (key, label, note) => tick({ id: `f-${key}`, label, note, checked: manifest[key] ?? key === 'secure_time', change: (on) => set({ [key]: on }) });
  const shown = (problems) => (draft.tried || draft.text.length > 700 || draft.vm || (manifest && manifest.docker_compose_file) ? problems : []);
  return [
    h('div', { class: 'switch', role: 'group', 'aria-label': 'How to edit' },
      [['guided', 'docker-compose.yaml'], ['exact', 'app-compose.json']].map(([view, label]) => h('button', {
        type: 'button', key: view, 'aria-pressed': String((guided ? 'guided' : 'exact') === view), disabled: view === 'guided' && (!manifest || typeof manifest.docker_compose_file !== 'string'),
        on: { click: () => { draft.view = view; update(); } },
      }, label))),
    guided && !keepsLayout(draft.text) && h('p', { class: 'note' }, 'This manifest was laid out by hand: a change made here lays all of it out anew. Edit app-compose.json to change its text only where you mean to.'),
    guided ? [
      editor({ id: 'f-yaml', label: 'docker-compose.yaml', placeholder: EXAMPLE, value: manifest.docker_compose_file, problems: shown(checked.yaml.problems), change: (text) => set({ docker_compose_file: text }) }),
      h('div', { class: 'row2' },
        choice({
          id: 'f-provider', label: 'Keys come from', value: keyProvider(manifest), options: [['kms', 'a KMS governed by contract'], ['local', 'the sealing enclave of this host'], ['tpm', 'the TPM'], ['none', 'nowhere: new ones at each boot']],
          note: keyProvider(manifest) === 'none' ? 'Its disk cannot be opened after a restart.' : '', change: (value) => set(providerFields(manifest, value)),
        }),
        h('div', { class: 'ticks' },
          flag('gateway_enabled', 'Reached through a gateway'), flag('public_logs', 'Anybody may read its logs'), flag('public_sysinfo', 'Anybody may read its load'),
          flag('secure_time', 'Authenticated time before keys'), flag('no_instance_id', 'All replicas share one disk key'))),
      h('details', { key: 'script', open: Boolean(manifest.pre_launch_script) }, h('summary', {}, 'Script before the containers start'),
        editor({ id: 'f-script', label: 'pre_launch_script (bash)', rows: 5, value: manifest.pre_launch_script || '', change: (text) => set({ pre_launch_script: text === '' ? undefined : text }) })),
    ] : editor({ id: 'f-json', label: 'app-compose.json', rows: 20, value: draft.text, problems: shown([...checked.problems, ...checked.yaml.problems.map((one) => ({ ...one, line: 1, text: `docker_compose_file line ${one.line}: ${one.text}` }))]), change: (text) => { draft.text = text; update(); }, note: 'Every byte counts: the hash is of this text.' }),
    errors.has('f-yaml') && h('p', { class: 'wrong' }, errors.get('f-yaml')),
    errors.has('f-json') && h('p', { class: 'wrong' }, errors.get('f-json')),
  ];
}

function environment(draft, checked, errors, update) {
  const missing = checked.yaml.variables.filter((name) => !read(draft.env).entries.some((one) => one.key === name));
  const load = async (event) => {
    const [file] = event.target.files;
    draft.sealed = file ? hex(new Uint8Array(await file.arrayBuffer())) : null;
    draft.sealedName = file ? file.name : '';
    update();
  };
  return [
    cannotEncrypt ? h('p', { class: 'note strong' }, cannotEncrypt)
      : lines({
        id: 'f-env', label: 'Variables', rows: 5, value: draft.env, kind: 'code', placeholder: 'DATABASE_URL=postgres://…\n# one a line', wrong: errors.get('f-env'),
        note: [draft.vm ? 'Replaces all of it; empty keeps what is there. ' : '', 'Encrypted in this browser to the app\u2019s key before anything is sent.', missing.length > 0 && !draft.vm ? ` The compose file names ${missing.join(', ')}.` : ''].join(''),
        change: (text) => { draft.env = text; draft.names = null; update(); },
      }),
    draft.view === 'guided' && checked.manifest && input({
      id: 'f-allowed', label: 'Variables the app takes', value: draft.names ?? allowedNames(checked.manifest).join(' '), note: 'Measured: the guest drops every other. Follows the variables above.',
      change: (value) => { draft.names = value; draft.text = change(draft.text, { allowed_envs: [...new Set(value.split(/[\s,]+/).filter(Boolean))] }); update(); },
    }),
    h('details', { key: 'sealed' }, h('summary', {}, 'A file that is encrypted already'),
      h('div', { class: 'field' }, h('label', { class: 'label', for: 'f-sealed' }, 'Encrypted environment'), h('input', { id: 'f-sealed', type: 'file', on: { change: load } }),
        h('span', { class: 'note' }, draft.sealed ? `${draft.sealedName}: ${draft.sealed.length / 2} bytes, sent instead of the variables.` : 'Made by bylaw env encrypt, on a machine you trust. This page comes from the host: who does not trust the host encrypts elsewhere.'))),
  ];
}

function expert(draft, errors, update) {
  const text = (id, label, name, note, rows = 2) => lines({ id, label, rows, value: draft[name], note, wrong: errors.get(id), change: (value) => { draft[name] = value; update(); } });
  return h('details', { class: 'part', key: 'expert', open: ['f-app-id', 'f-kms', 'f-gateway'].some((id) => errors.has(id)) }, h('summary', {}, 'More'),
    !draft.vm && input({ id: 'f-app-id', label: 'App id', value: draft.app_id, placeholder: 'from the compose hash', note: 'Of an app that is registered already; otherwise the first 40 digits of the hash.', wrong: errors.get('f-app-id'), change: (value) => { draft.app_id = value.trim(); update(); } }),
    text('f-kms', 'KMS addresses', 'kms_urls', `One a line; ${state.meta?.kms?.urls?.length ? `otherwise ${state.meta.kms.urls.join(', ')}` : 'the node names none'}.`),
    text('f-gateway', 'Gateway addresses', 'gateway_urls', `One a line; ${state.meta?.gateway?.urls?.length ? `otherwise ${state.meta.gateway.urls.join(', ')}` : 'the node names none'}.`),
    text('f-user', 'User configuration', 'user_config', 'Handed to the app as it is; not secret, not measured.', 3),
    choice({
      id: 'f-tee', label: 'Confidential hardware', value: draft.tee, options: [['hardware', 'TDX or SEV-SNP of this host'], ['simulated', 'simulated in software'], ['none', 'none']].filter(([value]) => !draft.vm || value !== 'simulated' || teeWas(draft) === 'simulated'),
      note: draft.tee === 'hardware' ? '' : 'Nothing in such a VM is confidential: the host can read all of it.', change: (value) => { draft.tee = value; update(); },
    }),
    !draft.vm && tick({ id: 'f-huge', label: 'Huge pages', checked: draft.hugepages, change: (on) => { draft.hugepages = on; update(); } }),
    !draft.vm && tick({ id: 'f-numa', label: 'Pin to the NUMA node of its devices', checked: draft.pin_numa, change: (on) => { draft.pin_numa = on; update(); } }));
}

const teeWas = (draft) => (draft.was?.simulated_tee ? 'simulated' : '');

function identity(draft) {
  const own = composeHash(draft);
  const differs = draft.hash && draft.serverHash && draft.hash !== draft.serverHash;
  return h('aside', { class: 'identity', 'aria-label': 'Identity of the app' },
    h('h2', {}, 'Identity'),
    h('dl', { class: 'facts stacked' },
      h('dt', {}, 'Compose hash'), h('dd', { id: 'compose-hash' }, own ? hash(own, 'compose hash', { whole: true }) : h('span', { class: 'quiet' }, 'as soon as it reads as a manifest')),
      h('dt', {}, 'App id'), h('dd', { id: 'app-id' }, appId(draft) ? hash(appId(draft), 'app id', { whole: true }) : h('span', { class: 'quiet' }, 'follows the hash'))),
    h('p', { class: 'note' }, differs ? [tag('bad', 'differs'), ' The VMM computes ', hash(draft.serverHash, 'the VMM\u2019s hash', { whole: true }), ': do not go on.']
      : draft.hash && draft.serverHash ? [tag('good', 'agreed'), ' SHA-256 of the exact text, by this browser and by the VMM.']
        : draft.serverHash ? 'By the VMM only: browsers hash on https:// or localhost pages only.'
          : draft.serverError ? [tag('bad', 'not accepted'), ' ', words(draft.serverError)] : 'SHA-256 of the exact text.'),
    draft.vm ? [draft.text !== draft.was.compose_file && h('p', { class: 'note' }, 'The contract must allow this hash before the VM starts with it: bylaw gov propose does that.'), h('h3', {}, 'What changes'), diff(draft.was.compose_file, draft.text)]
      : h('p', { class: 'note' }, 'Register the app id and allow this hash in the contract, or there are no keys.'));
}

function summary(draft, errors, checked) {
  if (errors.size === 0) return null;
  return h('div', { class: 'trouble', role: 'alert', key: 'summary' }, h('p', {}, h('strong', {}, 'Not sent yet')),
    h('ul', {}, [...errors].map(([id, text]) => h('li', { key: id }, h('button', { type: 'button', class: 'link', on: { click: () => { const field = document.getElementById(id); field?.closest('details')?.setAttribute('open', ''); field?.focus(); } } }, document.querySelector(`label[for="${id}"]`)?.textContent || 'Field'), `: ${text}`))),
    debatable(errors, checked) && draft.warned === draft.text && h('p', {}, 'The guest\u2019s docker compose has the last word: send it again to go on as it is.'));
}

function draw(draft) {
  const update = () => touched(draft);
  if (draft.hashed !== draft.text) touched(draft);
  const checked = check(draft.text);
  const errors = draft.tried ? faults(draft, checked) : new Map();
  const changes = draft.vm ? upgrade(draft).words : [];
  const resized = draft.vm && ['vcpu', 'memory', 'disk_size', 'image'].some((name) => draft[name] !== draft.was[name]);
  const idle = draft.vm && changes.length === 0 && !resized;
  const submit = (event) => { event.preventDefault(); if (!draft.busy && !idle) send(draft); };
  const cancel = () => { forget(draft); go(draft.vm ? `#/vm/${draft.vm.id}` : '#/'); };
  return h('form', { class: 'sheet form', key: draft.vm ? `upgrade ${draft.vm.id}` : 'create', novalidate: true, on: { submit } },
    h('div', { class: 'form-main' },
      h('h1', { tabindex: -1 }, draft.vm ? ['Upgrade ', words(draft.name)] : 'New VM'),
      !draft.vm && input({ id: 'f-name', label: 'Name', value: draft.name, wrong: errors.get('f-name'), note: 'Also the app\u2019s name in its manifest.', change: (value) => { draft.name = value; update(); } }),
      part('App', null, app(draft, checked, errors, update)),
      part('Environment', null, environment(draft, checked, errors, update)),
      part('Machine', draft.vm && !isDown(draft.vm) ? 'Shut it down to change these; everything else takes effect at its next start.' : null, draft.vm && !isDown(draft.vm) ? null : resources(draft, errors, update)),
      part('Ports', null, ports(draft, update, errors, checked.yaml.ports)),
      part('GPUs', null, gpus(draft, update)),
      part('Network', null, networks(draft, update)),
      expert(draft, errors, update)),
    h('div', { class: 'form-side' }, identity(draft),
      h('div', { class: 'send' },
        !draft.vm && tick({ id: 'f-stopped', label: 'Create without starting', checked: draft.stopped, change: (on) => { draft.stopped = on; update(); } }),
        draft.vm && h('p', { class: 'note' }, idle ? 'Nothing changed yet.' : `Changes ${[...changes, ...(resized ? ['the machine'] : [])].join(', ')}.`),
        summary(draft, errors, checked), refusal(draft.error, draft.vm ? 'The VMM refused the upgrade' : 'The VMM refused to create it'),
        h('div', { class: 'buttons left' },
          h('button', { type: 'submit', class: 'primary', disabled: draft.busy || idle }, draft.busy ? 'Sending…' : draft.vm ? 'Upgrade' : draft.stopped ? 'Create' : 'Create and start'),
          h('button', { type: 'button', class: 'plain', on: { click: cancel } }, 'Discard')))));
}

/// The form for a new VM.
export function create() {
  const draft = forNew();
  if (!draft.image && state.images?.length === 1) { draft.image = state.images[0].name; keep(draft); }
  return draw(draft);
}

/// The form for changes to a VM.
export function upgradeOf(vm) {
  if (!vm.configuration) return h('p', { class: 'loading' }, 'Asking for its configuration.');
  return draw(forVm(vm));
}
