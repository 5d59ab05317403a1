// Keys derived for the app, and the signatures that lead to the KMS.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { ed25519 } from '@noble/curves/ed25519';
import { secp256k1 } from '@noble/curves/secp256k1';
import { keccak_256 } from '@noble/hashes/sha3';
import { rawRefused, refused, toHex } from './system.mjs';

/** The compressed key that made a signature over Keccak-256. */
export function recovered(message, signature) {
  return secp256k1.Signature.fromCompact(signature.slice(0, 64))
    .addRecoveryBit(signature[64])
    .recoverPublicKey(keccak_256(message))
    .toRawBytes(true);
}

/** The public half of a 32-byte secret. */
export function publicKey(secret, algorithm) {
  return algorithm === 'ed25519' ? ed25519.getPublicKey(secret) : secp256k1.getPublicKey(secret, true);
}

/** Follow key -> app key -> KMS root; answers the app key. */
function leadsToRoot(system, purpose, key, chain) {
  assert.deepEqual(
    chain.map((link) => link.length),
    [65, 65],
    "lengths of a key's signatures",
  );
  const appKey = recovered(Buffer.from(`${purpose}:${toHex(key)}`), chain[0]);
  const issued = Buffer.concat([Buffer.from('dstack-kms-issued:'), system.appId, appKey]);
  const root = toHex(recovered(issued, chain[1]));
  assert.equal(root, toHex(system.rootK256), "the app key's signer");
  return toHex(appKey);
}

/** getKey: every algorithm, stable, distinct, certified by the KMS. */
export async function derived(client, system) {
  const appKeys = new Set();
  for (const algorithm of ['', 'secp256k1', 'k256', 'ed25519']) {
    for (const [path, purpose] of [
      ['wallet', 'test'],
      ['', ''],
      ['a/b', 'p:q'],
    ]) {
      const { key, signature_chain } = await client.getKey(path, purpose, algorithm);
      assert.equal(key.length, 32, 'bytes in a key');
      const own = publicKey(key, algorithm);
      appKeys.add(leadsToRoot(system, purpose, own, signature_chain));
    }
  }
  assert.equal(appKeys.size, 1, 'app keys behind all derived keys');

  const first = await client.getKey('wallet', 'test');
  const same = await client.getKey('wallet', 'test');
  assert.deepEqual(same.key, first.key, 'the key of one path asked twice');
  // The derivation takes the path alone: dstack promises it to its users.
  const renamed = await client.getKey('wallet', 'another purpose', 'ed25519');
  assert.deepEqual(renamed.key, first.key, 'the key of one path under another purpose');
  const secrets = new Set();
  for (const path of [undefined, 'w', 'wallet', 'wx']) {
    secrets.add(toHex((await client.getKey(path)).key));
  }
  assert.equal(secrets.size, 4, 'distinct keys of four paths');
  for (const algorithm of ['rsa', 'secp256k1_prehashed', 'SECP256K1']) {
    // This SDK reads no status: a refusal is an answer without a key.
    await refused(client.getKey('wallet', 'test', algorithm), TypeError, algorithm);
    const body = { path: 'wallet', purpose: 'test', algorithm };
    await rawRefused(system.guest, '/GetKey', body, /Unsupported algorithm/, algorithm);
  }
}

/** Check a Sign answer without the agent. */
function verifies(algorithm, key, data, signature) {
  if (algorithm === 'ed25519') return ed25519.verify(signature, data, key);
  const prehashed = algorithm === 'secp256k1_prehashed';
  const digest = prehashed ? data : createHash('sha256').update(data).digest();
  return secp256k1.verify(signature, digest, key, { lowS: true, prehash: false });
}

const flipped = (bytes, at) => {
  const copy = Uint8Array.from(bytes.length ? bytes : [0]);
  copy[at < 0 ? copy.length + at : at] ^= 1;
  return copy;
};

/** sign and verify: every algorithm, honest and changed inputs. */
export async function signing(client, system) {
  const digest = createHash('sha256').update('something hashed before').digest();
  for (const [algorithm, text] of [
    ['ed25519', 'a message to sign, ключ'],
    ['ed25519', ''],
    ['secp256k1', 'a message to sign, ключ'],
    ['k256', 'a message to sign'],
    ['secp256k1_prehashed', digest],
  ]) {
    const data = Buffer.from(text);
    const answer = await client.sign(algorithm, text);
    const { signature, signature_chain, public_key } = answer;
    assert.equal(signature.length, 64, 'bytes in a signature');
    assert.ok(verifies(algorithm, public_key, data, signature), `${algorithm} verifies`);
    const again = await client.sign(algorithm, data);
    assert.deepEqual(again.signature, signature, `${algorithm} signed twice`);

    assert.deepEqual(signature_chain[0], signature, "the first link of a signature's chain");
    leadsToRoot(system, 'signing', public_key, signature_chain.slice(1));
    const family = algorithm === 'ed25519' ? 'ed25519' : 'secp256k1';
    const { key } = await client.getKey('vms', 'signing', family);
    assert.deepEqual(public_key, publicKey(key, family), 'the signing key');

    const stranger = publicKey(createHash('sha256').update('a stranger').digest(), family);
    for (const [inputs, valid] of [
      [[data, signature, public_key], true],
      [[flipped(data, 0), signature, public_key], false],
      [[data, flipped(signature, -1), public_key], false],
      [[data, signature, stranger], false],
    ]) {
      const verdict = await client.verify(algorithm, ...inputs);
      assert.equal(verdict.valid, valid, `verify of ${algorithm}`);
    }
    for (const inputs of [
      [data, signature, public_key.slice(1)],
      [data, signature.slice(1), public_key],
    ]) {
      const verdict = await client.verify(algorithm, ...inputs);
      assert.equal(verdict.valid, undefined, `verify of ${algorithm} with a cut input`);
      assert.ok(verdict.error, 'a cut input is an error');
    }
  }
  for (const algorithm of ['', 'rsa']) {
    await refused(client.sign(algorithm, 'x'), TypeError, `sign with '${algorithm}'`);
    const words = /Unsupported algorithm/;
    await rawRefused(system.guest, '/Sign', { algorithm, data: '00' }, words, algorithm);
    const verdict = await client.verify(algorithm, 'x', Buffer.alloc(64), Buffer.alloc(33));
    assert.match(verdict.error, words, `verify with '${algorithm}'`);
  }
  await refused(client.sign('secp256k1_prehashed', 'short'), /32-byte digest/, '5 bytes');
  const body = { algorithm: 'secp256k1_prehashed', data: '0102' };
  await rawRefused(system.guest, '/Sign', body, /32-byte digest/, 'a digest of 2 bytes');
}
