// Calls to the VMM. Addresses are relative to the page, so that a proxy may serve it below a path.
import { state, changed } from './state.js';

const STORE = 'bylaw-vmm-token';
const ANSWER_WITHIN = 30000;

/// What the VMM or the network said; `status` is 0 where nothing answered.
export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/// Takes `?token=` out of the address and keeps it for this tab.
export function takeToken() {
  const url = new URL(window.location.href);
  const token = url.searchParams.get('token');
  if (token === null) return;
  url.searchParams.delete('token');
  window.history.replaceState(null, '', url.pathname + url.search + url.hash);
  keepToken(token);
}

/// Keeps a token for this tab; none forgets it.
export function keepToken(token) {
  if (token) sessionStorage.setItem(STORE, token);
  else sessionStorage.removeItem(STORE);
}

/// Asks with the token. Without one the browser's own HTTP Basic sign-in, if there was one, is used.
export async function ask(path, options = {}) {
  const token = sessionStorage.getItem(STORE);
  const headers = { ...(options.headers || {}) };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, credentials: token ? 'omit' : 'same-origin', cache: 'no-store', redirect: 'error' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refusal(error.name === 'TimeoutError' ? `The VMM did not answer within ${ANSWER_WITHIN / 1000} seconds` : 'The VMM does not answer', 0);
  }
  if (response.status === 401) {
    state.signedOut = true;
    changed();
    throw new Refusal('The VMM asks for a token', 401);
  }
  return response;
}

async function json(path, options) {
  const response = await ask(path, { ...options, signal: AbortSignal.timeout(ANSWER_WITHIN) });
  const body = await response.text();
  let value;
  try {
    value = body === '' ? null : JSON.parse(body);
  } catch {
    throw new Refusal(`The VMM answered ${response.status} with something that is not JSON`, response.status);
  }
  if (!response.ok) throw new Refusal(value && typeof value.error === 'string' ? value.error : `The VMM answered ${response.status}`, response.status);
  state.signedOut = false;
  return value;
}

const post = (path, message) => json(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(message) });

/// Calls a method of the VMM.
export const vmm = (method, message = {}) => post(`prpc/${method}?json`, message);

/// Calls a method of a VM's guest agent, through the VMM.
export const guest = (method, id) => post(`guest/${method}?json`, { id });

/// What the chain says of a VM's app; null where the node does not know.
export async function governance(id) {
  try {
    return await json(`governance?id=${encodeURIComponent(id)}`, {});
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/// Opens a log that goes on until `signal` aborts it.
export async function log(id, channel, lines, signal) {
  const query = new URLSearchParams({ id, follow: 'true', ansi: 'false', lines: String(lines), ch: channel });
  const response = await ask(`logs?${query}`, { signal });
  if (!response.ok) {
    const said = (await response.text()).slice(0, 400);
    throw new Refusal(response.status === 404 ? 'This VM has no such log' : said || `The VMM answered ${response.status}`, response.status);
  }
  return response.body.pipeThrough(new TextDecoderStream()).getReader();
}
