// OS images: on this node and in the registry.
import { h } from './dom.js';
import { vmm } from './api.js';
import { open, refusal } from './actions.js';
import { readImages } from './poll.js';
import { changed, say, state } from './state.js';
import { many, plain, tag, words } from './text.js';

const EVERY = 3000;
const registry = { images: null, error: null, pull: null, timer: null, here: false };

async function readRegistry() {
  try {
    const before = new Map((registry.images || []).map((one) => [one.tag, one]));
    registry.images = (await vmm('ListRegistryImages')).images;
    registry.error = null;
    for (const one of registry.images) {
      const was = before.get(one.tag);
      if (was?.pulling && one.local) say(`${one.tag} is here`);
      if (was?.pulling && one.error) say(`${one.tag} did not come: ${one.error}`);
    }
    if (registry.images.some((one) => before.get(one.tag)?.pulling && one.local)) await readImages();
  } catch (error) {
    registry.error = error.message;
  }
  changed();
  clearTimeout(registry.timer);
  if (registry.here && registry.images?.some((one) => one.pulling)) registry.timer = setTimeout(readRegistry, EVERY);
}

/// Asks for both lists.
export function enter() {
  registry.here = true;
  readImages().catch((error) => { registry.error = error.message; changed(); });
  readRegistry();
}

/// Stops asking.
export function leave() {
  registry.here = false;
  clearTimeout(registry.timer);
}

async function pull(name) {
  registry.pull = null;
  try {
    await vmm('PullRegistryImage', { tag: name });
    say(`Pulling ${name}`);
  } catch (error) {
    registry.pull = { tag: name, error };
  }
  await readRegistry();
}

function drop(image, users) {
  open({
    title: `Delete the image ${image.name}?`,
    text: [users.length > 0 ? `${many(users.length, 'VM')} made from it will not start again: ${users.map((vm) => vm.name).slice(0, 5).join(', ')}. The VMM refuses while that is so.` : 'No VM uses it. It can be pulled again where the registry still has it.'],
    verb: `Delete ${image.name}`,
    act: async () => {
      await vmm('DeleteImage', { id: image.name });
      say(`${image.name} is deleted`);
      await readImages();
      readRegistry();
    },
  });
}

function local() {
  if (state.images === null) return h('p', { class: 'loading' }, 'Asking which images are here.');
  if (state.images.length === 0) return h('p', { class: 'empty' }, 'None. Pull one below, or build one with ', h('code', {}, 'bylaw image build'), ' and copy its folder below the image path.');
  return h('ul', { class: 'sheet vms' }, state.images.map((image) => {
    const users = (state.vms || []).filter((vm) => vm.configuration?.image === image.name);
    return h('li', { class: 'image', key: image.name },
      h('div', { class: 'who' }, h('strong', {}, words(image.name, 100)), h('span', { class: 'quiet' }, image.version ? ['version ', words(image.version, 40)] : '')),
      h('div', {}, image.is_dev ? tag('wait', 'development: has a shell') : tag('good', 'production')),
      h('div', { class: 'quiet' }, users.length > 0 ? `used by ${many(users.length, 'VM')}` : 'not used'),
      h('div', { class: 'end' }, h('button', { type: 'button', class: 'plain bad', 'aria-label': `Delete ${image.name}`, on: { click: () => drop(image, users) } }, 'Delete')));
  }));
}

function remote() {
  if (registry.error) return h('p', { class: 'empty' }, 'No list from the registry: ', h('span', { class: 'said' }, words(registry.error, 400)), /regist/i.test(registry.error) ? ' Set image.registry in vmm.toml to pull images from one.' : '');
  if (registry.images === null) return h('p', { class: 'quiet' }, 'Asking the registry.');
  if (registry.images.length === 0) return h('p', { class: 'empty' }, 'The registry lists no images.');
  return h('ul', { class: 'sheet vms' }, registry.images.map((one) => h('li', { class: 'image', key: one.tag },
    h('div', { class: 'who' }, h('strong', {}, words(one.tag, 100))),
    h('div', { class: 'state' }, one.pulling ? tag('wait', 'pulling') : one.error ? [tag('bad', 'failed'), ' ', h('span', { class: 'said' }, plain(one.error, 300))] : one.local ? tag('good', 'here') : tag('off', 'not here')),
    h('div', {}),
    h('div', { class: 'end' }, !one.local && h('button', { type: 'button', class: 'plain', disabled: one.pulling, on: { click: () => pull(one.tag) } }, one.pulling ? 'Pulling' : one.error ? 'Try again' : 'Pull', h('span', { class: 'unseen' }, ` ${plain(one.tag, 100)}`))))));
}

/// The view.
export function images() {
  return [
    h('div', { class: 'title-row', key: 'title' }, h('h1', { tabindex: -1 }, 'OS images')),
    h('section', { class: 'part', key: 'local' }, h('h2', {}, 'On this node'), h('div', { class: 'body' }, local())),
    h('section', { class: 'part', key: 'remote' }, h('h2', {}, 'In the registry'), h('div', { class: 'body' }, registry.pull && refusal(registry.pull.error, `${registry.pull.tag} could not be pulled`), remote())),
  ];
}
