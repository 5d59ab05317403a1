// The environment: read from lines, encrypted here to the app's own key. The VMM sees only the result.
import { vmm } from './api.js';

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const LONGEST_NAME = 255;
const LONGEST_VALUE = 128 * 1024;

/// `{entries: [{key, value}], problems: [text]}` of lines KEY=VALUE; # starts a comment.
export function read(text) {
  const entries = [];
  const problems = [];
  const lines = new Map();
  text.split('\n').forEach((raw, i) => {
    const line = raw.replace(/\r$/, '');
    if (line.trim() === '' || line.trim().startsWith('#')) return;
    const at = line.indexOf('=');
    const key = line.slice(0, Math.max(at, 0)).trim();
    const value = line.slice(at + 1);
    if (at < 0) problems.push(`line ${i + 1}: KEY=VALUE is expected`);
    else if (!NAME.test(key) || key.length > LONGEST_NAME) problems.push(`line ${i + 1}: a name has letters, digits and _ only`);
    else if (lines.has(key)) problems.push(`line ${i + 1}: ${key} again; line ${lines.get(key)} has it already`);
    else if (new TextEncoder().encode(value).length > LONGEST_VALUE) problems.push(`line ${i + 1}: ${key} is longer than 128 KB`);
    else {
      lines.set(key, i + 1);
      entries.push({ key, value });
    }
  });
  return { entries, problems };
}

const bytes = (hex) => Uint8Array.from(hex.replace(/^0x/, '').match(/../g) || [], (pair) => parseInt(pair, 16));

/// Bytes as the API takes them.
export const hex = (array) => Array.from(array, (byte) => byte.toString(16).padStart(2, '0')).join('');

/// Why this browser cannot encrypt here; empty where it can.
export async function obstacle() {
  if (!globalThis.crypto?.subtle) {
    return 'Browsers encrypt only on pages served by https:// or from localhost. Forward the port (ssh -L 9080:localhost:9080 host) and open http://localhost:9080, or choose a file made by "bylaw env encrypt".';
  }
  try {
    await crypto.subtle.generateKey({ name: 'X25519' }, false, ['deriveBits']);
    return '';
  } catch {
    return 'This browser has no X25519. Use Chrome 133, Firefox 130, Safari 17 or later, or choose a file made by "bylaw env encrypt".';
  }
}

/// Encrypts variables to the key the KMS holds for an app. Form: ephemeral X25519 public key (32 bytes), IV
/// (12), AES-256-GCM of {"env":[{"key","value"}]} under the shared secret; as hex.
export async function encrypt(appId, entries) {
  const answer = await vmm('GetAppEnvEncryptPubKey', { app_id: appId });
  const theirs = bytes(answer.public_key);
  if (theirs.length !== 32) throw new Error(`The KMS answered with a key of ${theirs.length} bytes; X25519 has 32`);
  const recipient = await crypto.subtle.importKey('raw', theirs, { name: 'X25519' }, false, []);
  const own = await crypto.subtle.generateKey({ name: 'X25519' }, false, ['deriveBits']);
  const shared = new Uint8Array(await crypto.subtle.deriveBits({ name: 'X25519', public: recipient }, own.privateKey, 256));
  try {
    // A key of small order would make a secret that everybody knows.
    if (shared.every((byte) => byte === 0)) throw new Error('The KMS answered with a key that hides nothing');
    const key = await crypto.subtle.importKey('raw', shared, 'AES-GCM', false, ['encrypt']);
    const iv = crypto.getRandomValues(new Uint8Array(12));
    const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, new TextEncoder().encode(JSON.stringify({ env: entries })));
    const ephemeral = await crypto.subtle.exportKey('raw', own.publicKey);
    return hex(new Uint8Array(ephemeral)) + hex(iv) + hex(new Uint8Array(sealed));
  } finally {
    shared.fill(0);
  }
}
