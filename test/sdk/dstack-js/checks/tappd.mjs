// The deprecated Tappd client, which old apps still use.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { keccak_256, keccak_384, keccak_512 } from '@noble/hashes/sha3';
import { alternatives, chained, ownKey } from './certificates.mjs';
import { padded, replayed } from './evidence.mjs';
import { raw, refused, toHex } from './system.mjs';

const hashed = (name) => (data) => createHash(name).update(data).digest();
const HASHES = {
  sha256: hashed('sha256'),
  sha384: hashed('sha384'),
  sha512: hashed('sha512'),
  'sha3-256': hashed('sha3-256'),
  'sha3-384': hashed('sha3-384'),
  'sha3-512': hashed('sha3-512'),
  keccak256: keccak_256,
  keccak384: keccak_384,
  keccak512: keccak_512,
};

/** deriveKey: one P-256 key a path, certified as any TLS key. */
export async function derived(tappd, client, system) {
  const found = new Map();
  for (const path of ['', '/', 'web']) {
    const answer = await tappd.deriveKey(path, 'old.example');
    const leaf = chained(system, answer.certificate_chain);
    found.set(path, ownKey(answer, leaf));
    assert.equal(leaf.subject, 'CN=old.example', 'the subject');
    // Both sockets derive the same 32 bytes from the app key and a path.
    const { key } = await client.getKey(path);
    assert.equal(found.get(path), toHex(key), `getKey's bytes for '${path}'`);
  }
  assert.equal(new Set(found.values()).size, 3, 'distinct keys of three paths');
  const again = await tappd.deriveKey('web', undefined, ['b.example', 'a.example']);
  const leaf = chained(system, again.certificate_chain);
  assert.equal(ownKey(again, leaf), found.get('web'), 'the key of one path asked twice');
  assert.equal(leaf.subject, 'CN=web', 'the subject is the path unless told');
  assert.deepEqual(alternatives(leaf), ['DNS:b.example', 'DNS:a.example'], 'names in order');
}

/** tdxQuote: every way of hashing, and raw data. */
export async function quotes(tappd) {
  for (const [name, hash] of Object.entries(HASHES)) {
    const answer = await tappd.tdxQuote('hello', name);
    const digest = padded(hash(Buffer.from('app-data:hello')));
    assert.deepEqual(replayed(answer).reportData, digest, `report data hashed by ${name}`);
    assert.equal(answer.hash_algorithm, name, 'the hash, echoed');
    assert.equal(answer.prefix, 'app-data', 'the prefix, echoed');
  }
  const unsaid = await tappd.tdxQuote('hello');
  assert.equal(unsaid.hash_algorithm, 'sha512', 'the hash unless told');
  const digest = HASHES.sha512(Buffer.from('app-data:hello'));
  assert.deepEqual(replayed(unsaid).reportData, digest, 'report data unless told');
  for (const data of [Buffer.from('short'), Buffer.alloc(64, 7)]) {
    const answer = await tappd.tdxQuote(data, 'raw');
    // This SDK pads raw data on the left.
    const wanted = Buffer.concat([Buffer.alloc(64 - data.length), data]);
    assert.deepEqual(replayed(answer).reportData, wanted, 'raw report data');
    assert.equal(answer.prefix, '', 'raw data has no prefix');
  }
  await refused(tappd.tdxQuote(Buffer.alloc(65), 'raw'), /too large/, '65 raw bytes');
  await refused(tappd.tdxQuote('hello', 'md5'), /invalid hash algorithm/, 'md5');
}

/** Info and Version are those of the new socket. */
export async function info(tappd, client, system) {
  assert.equal(await tappd.isReachable(), true, 'tappd is reachable');
  const answer = async (method) => {
    const { status, text } = await raw(system.tappd, `/prpc/Tappd.${method}`, {});
    assert.equal(status, 200, `Tappd.${method}`);
    return JSON.parse(text);
  };
  const [old, now] = [await answer('Info'), await client.info()];
  for (const field of ['app_id', 'instance_id', 'app_cert', 'app_name', 'compose_hash']) {
    assert.equal(old[field], now[field], `tappd's ${field}`);
  }
  assert.deepEqual(JSON.parse(old.tcb_info), now.tcb_info, "tappd's tcb_info");
  const { version, rev } = await client.version();
  assert.deepEqual(await answer('Version'), { version, rev }, "tappd's version");
}

/** What the client inherits asks for paths this socket never had. */
export async function absent(tappd) {
  for (const call of [
    () => tappd.info(),
    () => tappd.version(),
    () => tappd.getKey('a', 'b'),
    () => tappd.getTlsKey(),
    () => tappd.getQuote('x'),
    () => tappd.attest('x'),
    () => tappd.emitEvent('x', 'y'),
    () => tappd.sign('ed25519', 'x'),
    () => tappd.verify('ed25519', 'x', Buffer.alloc(64), Buffer.alloc(32)),
  ]) {
    // An empty 404, which may come before the request is read to its end.
    await refused(call(), /failed to parse response|ECONNRESET|EPIPE/, 'a method tappd lacks');
  }
}
