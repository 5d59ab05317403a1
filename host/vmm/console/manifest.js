// app-compose.json: its exact text is the app's identity, so everything here goes by the text.
import { inspect } from './yaml.js';
import { vmm } from './api.js';
import { changed } from './state.js';

const NAME = /^[A-Za-z0-9\-_. @~!$^()]+$/;

/// A new manifest as vmm-cli.py and bylaw write it.
export const fresh = () => ({
  manifest_version: 2,
  name: '',
  runner: 'docker-compose',
  docker_compose_file: '',
  kms_enabled: true,
  gateway_enabled: false,
  local_key_provider_enabled: false,
  key_provider_id: '',
  public_logs: false,
  public_sysinfo: false,
  allowed_envs: [],
  no_instance_id: false,
  secure_time: true,
});

/// `{value}` of a text, or `{error, line}`.
export function parse(text) {
  try {
    const value = JSON.parse(text);
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return { error: 'it must be a JSON object', line: 1 };
    return { value };
  } catch (error) {
    const named = /line (\d+)/.exec(error.message);
    const position = /position (\d+)/.exec(error.message);
    const line = named ? Number(named[1]) : position ? text.slice(0, Number(position[1])).split('\n').length : text.split('\n').length;
    return { error: error.message.replace(/^JSON\.parse: /, '').replace(/ ?\(line.*\)$/, ''), line };
  }
}

// How a text was laid out; null where JSON.stringify would lay it out differently.
function layout(text, value) {
  for (const indent of [4, 2, 0, 1, 3, 8, '\t']) {
    const again = JSON.stringify(value, null, indent);
    if (again === text) return { indent, end: '' };
    if (`${again}\n` === text) return { indent, end: '\n' };
  }
  return null;
}

/// Whether changing a field by the form keeps the layout of the rest.
export function keepsLayout(text) {
  const { value } = parse(text);
  return value !== undefined && layout(text, value) !== null;
}

/// The text with fields changed; `undefined` removes one.
export function change(text, fields) {
  const { value } = parse(text);
  if (value === undefined) return text;
  const how = layout(text, value) || { indent: 4, end: '' };
  return JSON.stringify({ ...value, ...fields }, null, how.indent) + how.end;
}

/// `kms`, `local`, `tpm` or `none`.
export function keyProvider(manifest) {
  if (typeof manifest.key_provider === 'string') return manifest.key_provider;
  if (manifest.kms_enabled) return 'kms';
  return manifest.local_key_provider_enabled ? 'local' : 'none';
}

/// The fields that choose a key provider.
export const providerFields = (manifest, provider) => ({
  kms_enabled: provider === 'kms',
  local_key_provider_enabled: provider === 'local',
  ...(manifest.key_provider !== undefined || provider === 'tpm' ? { key_provider: provider } : {}),
});

/// Names of the variables that an app takes from outside.
export const allowedNames = (manifest) => (Array.isArray(manifest.allowed_envs) ? manifest.allowed_envs.filter((name) => typeof name === 'string') : []);

/// Whether the app opens an environment that this page can encrypt.
export const takesAnonymousEnv = (manifest) => !manifest.encrypted_env || (manifest.encrypted_env.versions || []).includes(1);

/// What is wrong with a manifest: `[{line, level, text}]`, lines of its JSON text, and what its
/// docker-compose file holds.
export function check(text) {
  const { value, error, line } = parse(text);
  const nothing = { problems: [], services: [], ports: [], variables: [] };
  if (error) return { manifest: null, problems: [{ line, level: 'error', text: error }], yaml: nothing };
  const problems = [];
  const lineOf = (key) => Math.max(1, text.split('\n').findIndex((one) => one.includes(`"${key}"`)) + 1);
  const add = (key, level, what) => problems.push({ line: lineOf(key), level, text: what });
  const type = (key, wanted) => {
    if (value[key] === undefined || value[key] === null) return;
    const is = Array.isArray(value[key]) ? 'array' : typeof value[key];
    if (is !== wanted) add(key, 'error', `${key} is ${is}; it must be ${wanted}`);
  };
  if (value.manifest_version === undefined) add('', 'error', 'manifest_version is missing; 2 is usual');
  if (typeof value.name !== 'string' || value.name === '') add('name', 'error', 'name is missing');
  else if (!NAME.test(value.name)) add('name', 'error', 'name may hold letters, digits and -_. @~!$^() only');
  if (!['docker-compose', 'nerdctl-compose', 'bash'].includes(value.runner)) add('runner', 'error', 'runner must be docker-compose, nerdctl-compose or bash');
  for (const key of ['kms_enabled', 'gateway_enabled', 'local_key_provider_enabled', 'public_logs', 'public_sysinfo', 'no_instance_id', 'secure_time']) type(key, 'boolean');
  for (const key of ['docker_compose_file', 'key_provider_id', 'pre_launch_script']) type(key, 'string');
  type('allowed_envs', 'array');
  let yaml = nothing;
  if (typeof value.docker_compose_file === 'string' && value.runner !== 'bash') {
    yaml = inspect(value.docker_compose_file);
    if (value.docker_compose_file.trim() === '') add('docker_compose_file', 'error', 'the docker-compose file is empty');
  } else if (value.runner === 'docker-compose') add('runner', 'error', 'docker_compose_file is missing');
  return { manifest: value, problems, yaml };
}

const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, '0')).join('');

/// SHA-256 of the exact text by this browser; null on a page served by plain HTTP, where browsers refuse.
export async function localHash(text) {
  if (!globalThis.crypto?.subtle) return null;
  return hex(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
}

/// The same by the VMM, which also checks that it reads as a manifest.
export const serverHash = async (name, text) => (await vmm('GetComposeHash', { name, compose_file: text })).hash;

const hashes = new Map();

/// The hash of a text that does not change, once it is known: by this browser, or by the VMM.
export function knownHash(name, text) {
  if (!hashes.has(text)) {
    hashes.set(text, null);
    localHash(text).then((value) => value ?? serverHash(name, text)).then((value) => { hashes.set(text, value); changed(); }, () => {});
  }
  return hashes.get(text);
}

/// Whether a name may be a VM's.
export const goodName = (name) => NAME.test(name);
