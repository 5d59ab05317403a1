// What the chain says of a VM's app.
import { h } from './dom.js';
import { governance } from './api.js';
import { changed } from './state.js';
import { clock, duration, facts, hash, tag, words } from './text.js';

const EVERY = 15000;
const known = new Map();

/// Asks again where the last answer is old.
export async function look(id) {
  const last = known.get(id);
  if (last && (last.asking || Date.now() - last.at < EVERY)) return;
  known.set(id, { ...last, asking: true, at: Date.now() });
  const next = { at: Date.now(), asking: false, answer: last?.answer || null, error: null, none: false };
  try {
    next.answer = await governance(id);
    next.none = next.answer === null;
  } catch (error) {
    next.error = error.message;
  }
  known.set(id, next);
  changed();
}

/// Asks anew at the next look.
export const outdated = (id) => known.delete(id);

const VERDICT = {
  allowed: ['good', 'Allowed', 'The contract lets this app have its keys.'],
  pending: ['wait', 'Pending', 'The contract will allow it; until then there are no keys.'],
  refused: ['bad', 'Refused', 'The contract does not let this app have its keys.'],
};

/// The view.
export function governed(vm, now) {
  const one = known.get(vm.id);
  if (!one || (!one.answer && !one.error && !one.none)) return h('p', { class: 'quiet' }, 'Asking the chain.');
  if (one.none) return h('p', { class: 'empty' }, 'This node is not told which chain governs its apps: set cvm.chain in vmm.toml, and what the contract says appears here.');
  if (!one.answer) return h('p', { class: 'empty' }, 'The chain could not be asked: ', h('span', { class: 'said' }, words(one.error)));
  const said = one.answer;
  const [tone, word, meaning] = VERDICT[said.state] || ['off', 'Unknown', 'What the contract says of this app is not known right now.'];
  const at = Number(said.activates_at) * 1000;
  return [
    h('p', { class: 'verdict' }, tag(tone, word), ' ', meaning),
    said.reason && h('p', { class: tone === 'bad' ? 'said' : 'quiet' }, words(said.reason, 600)),
    said.state === 'pending' && at > 0 && h('p', {}, 'From ', h('time', { datetime: new Date(at).toISOString() }, clock(at)), at > now ? `, in ${duration(at - now)}.` : ', due now.'),
    said.state === 'refused' && h('p', {}, 'Whoever governs the app, or the KMS, can change that with ', h('code', {}, 'bylaw gov propose'), '.'),
    facts(['App', hash(said.app_id, 'app id')], ['Compose hash', hash(said.compose_hash, 'compose hash')],
      said.kms_auth && ['KmsAuth', hash(said.kms_auth, 'address of KmsAuth')], said.chain_id !== undefined && said.chain_id !== null && ['Chain', words(String(said.chain_id))]),
    one.error && h('p', { class: 'note' }, `Out of date: ${one.error}`),
  ];
}
