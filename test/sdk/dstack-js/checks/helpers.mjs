// Helpers of the SDK around the agent: environments, hashes, accounts.

import assert from 'node:assert/strict';
import { createDecipheriv, createHash } from 'node:crypto';
import https from 'node:https';
import { ed25519, x25519 } from '@noble/curves/ed25519';
import { secp256k1 } from '@noble/curves/secp256k1';
import { keccak_256 } from '@noble/hashes/sha3';
import * as index from '@phala/dstack-sdk';
import { encryptEnvVars } from '@phala/dstack-sdk/encrypt-env-vars';
import { getComposeHash } from '@phala/dstack-sdk/get-compose-hash';
import { toKeypair, toKeypairSecure } from '@phala/dstack-sdk/solana';
import {
  verifyEnvEncryptPublicKey,
  verifyEnvEncryptPublicKeyLegacy,
} from '@phala/dstack-sdk/verify-env-encrypt-public-key';
import { toViemAccount, toViemAccountSecure } from '@phala/dstack-sdk/viem';
import { recoverMessageAddress } from 'viem';
import { privateKeyToAddress } from 'viem/accounts';
import { chained, ownKey, PKCS8 } from './certificates.mjs';
import { publicKey } from './keys.mjs';
import { hex, refused, toHex } from './system.mjs';

const sha256 = (data) => createHash('sha256').update(data).digest('hex');

/**
 * Encrypted environments open with the recipient's secret, in the layout a
 * guest reads: ephemeral key, IV, AES-256-GCM under the bare shared secret.
 */
export async function environment() {
  const secret = x25519.utils.randomPrivateKey();
  const recipient = toHex(x25519.getPublicKey(secret));
  const variables = [
    { key: 'FOO', value: 'bar' },
    { key: 'TEXT', value: 'line\n"ключ"' },
  ];
  const open = (blob) => {
    const shared = x25519.getSharedSecret(secret, blob.subarray(0, 32));
    const cipher = createDecipheriv('aes-256-gcm', shared, blob.subarray(32, 44));
    cipher.setAuthTag(blob.subarray(-16));
    return Buffer.concat([cipher.update(blob.subarray(44, -16)), cipher.final()]);
  };
  const sealed = [];
  for (const name of [recipient, `0x${recipient}`]) {
    const blob = hex(await encryptEnvVars(variables, name));
    assert.deepEqual(JSON.parse(open(blob)), { env: variables }, 'the environment, opened');
    blob[50] ^= 1;
    assert.throws(() => open(blob), /authenticate/, 'a changed environment does not open');
    sealed.push(toHex(blob.subarray(0, 32)));
  }
  assert.notEqual(sealed[0], sealed[1], 'each encryption has a key of its own');
  await refused(encryptEnvVars(variables, '00'.repeat(32)), Error, 'a key without a secret');
}

function signed(secret, ...parts) {
  const message = keccak_256(Buffer.concat(parts));
  const signature = secp256k1.sign(message, secret, { prehash: false });
  return Buffer.concat([signature.toCompactRawBytes(), Buffer.of(signature.recovery)]);
}

const stamp = (seconds) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(seconds));
  return bytes;
};

/** Signatures over an environment key, made here as a KMS makes them. */
export function envKeyOffline() {
  const secret = hex(sha256('a root key'));
  const signer = `0x${toHex(publicKey(secret, 'secp256k1'))}`;
  const [appId, key] = [Buffer.alloc(20, 1), Buffer.alloc(32, 2)];
  const prefix = Buffer.concat([Buffer.from('dstack-env-encrypt-pubkey:'), appId]);
  const now = Math.floor(Date.now() / 1000);
  const id = toHex(appId);
  const legacy = signed(secret, prefix, key);
  assert.equal(verifyEnvEncryptPublicKeyLegacy(key, legacy, id), signer, 'a signer, no time');
  for (const [age, options, accepted] of [
    [0, undefined, true],
    [299, undefined, true],
    [310, undefined, false],
    [310, { maxAgeSeconds: 400 }, true],
    [-90, undefined, false],
  ]) {
    const time = now - age;
    const signature = signed(secret, prefix, stamp(time), key);
    const found = verifyEnvEncryptPublicKey(key, signature, `0x${id}`, time, options);
    assert.equal(found, accepted ? signer : null, `an answer ${age} s old`);
  }
  const signature = signed(secret, prefix, stamp(now), key);
  const verify = index.verifyEnvEncryptPublicKey;
  assert.equal(verify(key, signature, id, BigInt(now)), signer, 'a time as bigint');
  assert.notEqual(verify(key, signature, id, now - 1), signer, 'another time');
  assert.equal(verify(key, signature.subarray(1), id, now), null, 'a signature of 64 bytes');
}

/** What the KMS itself says, over TLS anchored at the root the chain names. */
export async function envKeyOfKms(client, system) {
  if (!system.kmsUrl) {
    console.log('KMS_URL is not set: the environment key is checked offline only');
    return;
  }
  const { certificate_chain } = await client.getTlsKey();
  chained(system, certificate_chain);
  const url = new URL('/prpc/GetAppEnvEncryptPubKey?json', system.kmsUrl);
  // Its certificate names a domain, which need not be where this test finds it.
  const trust = { ca: certificate_chain[2], checkServerIdentity: () => undefined };
  const text = await new Promise((resolve, reject) => {
    const request = https.request(url, { method: 'POST', ...trust }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => (body += chunk));
      response.on('end', () => resolve(body));
    });
    request.on('error', reject);
    request.end(JSON.stringify({ app_id: toHex(system.appId) }));
  });
  const answer = JSON.parse(text);
  const [key, id, time] = [hex(answer.public_key), toHex(system.appId), answer.timestamp];
  const root = `0x${toHex(system.rootK256)}`;
  const signature = hex(answer.signature_v1);
  assert.equal(verifyEnvEncryptPublicKey(key, signature, id, time), root, 'its signer');
  const other = verifyEnvEncryptPublicKey(key, signature, '00'.repeat(20), time);
  assert.notEqual(other, root, "the environment key is one app's");
  const legacy = verifyEnvEncryptPublicKeyLegacy(key, hex(answer.signature), id);
  assert.equal(legacy, root, 'its signer, without a time');
}

// Canonical forms written out by hand: what the hash must be of.
const COMPOSE =
  '{"allowed_envs":["B","A"],"docker_compose_file":"a<b>&ключ\\n",' +
  '"docker_config":{"registry":"r.example","username":"u"},' +
  '"manifest_version":2,"name":"x","runner":"docker-compose"}';
const BASH = '{"bash_script":"true","name":"y","runner":"bash"}';

/** getComposeHash: sorted, compact, unescaped; normalised when asked. */
export async function composeHashes(client) {
  const compose = JSON.parse(COMPOSE);
  const shuffled = Object.fromEntries(Object.entries(compose).reverse());
  assert.equal(getComposeHash(shuffled), sha256(COMPOSE), 'a shuffled compose');
  const noisy = { ...compose, bash_script: 'x', pre_launch_script: '' };
  assert.notEqual(getComposeHash(noisy), sha256(COMPOSE), 'every field counts');
  assert.equal(getComposeHash(noisy, true), sha256(COMPOSE), 'normalised');
  const bash = { ...JSON.parse(BASH), docker_compose_file: 'x' };
  assert.equal(getComposeHash(bash, true), sha256(BASH), 'bash, normalised');
  assert.equal(index.getComposeHash({ runner: 'x', a: NaN }), sha256('{"a":null,"runner":"x"}'));

  const { tcb_info } = await client.info();
  const own = JSON.parse(tcb_info.app_compose);
  const keys = Object.keys(own).sort();
  const canonical = `{${keys.map((k) => `${JSON.stringify(k)}:${JSON.stringify(own[k])}`)}}`;
  assert.equal(getComposeHash(own), sha256(canonical), "the app's own compose");
}

/** Ethereum accounts and Solana key pairs are the derived keys. */
export async function accounts(client) {
  const ethereum = await client.getKey('accounts', 'test');
  const address = privateKeyToAddress(`0x${toHex(ethereum.key)}`);
  for (const helper of [toViemAccount, toViemAccountSecure]) {
    const account = helper(ethereum);
    assert.equal(account.address, address, `${helper.name}'s address`);
    const signature = await account.signMessage({ message: 'sign in' });
    const found = await recoverMessageAddress({ message: 'sign in', signature });
    assert.equal(found, address, `who signed with ${helper.name}`);
  }
  const solana = await client.getKey('accounts', 'test', 'ed25519');
  for (const helper of [toKeypair, toKeypairSecure]) {
    const pair = helper(solana);
    const key = publicKey(solana.key, 'ed25519');
    assert.deepEqual(new Uint8Array(pair.publicKey.toBytes()), key, `${helper.name}'s key`);
    const message = Buffer.from('sign in');
    const signature = ed25519.sign(message, pair.secretKey.slice(0, 32));
    assert.ok(ed25519.verify(signature, message, pair.publicKey.toBytes()));
  }
}

/** Accounts out of TLS keys, for those who made them so long ago. */
export async function legacyAccounts(client, system) {
  const tls = await client.getTlsKey();
  ownKey(tls, chained(system, tls.certificate_chain));
  // The first 32 bytes of the encoding: a constant, which is why this way is
  // deprecated, and why the encoding may not change.
  const constant = toHex(PKCS8.subarray(0, 32));
  const whole = sha256(tls.asUint8Array());
  for (const [helper, secret] of [
    [toViemAccount, constant],
    [toViemAccountSecure, whole],
  ]) {
    assert.equal(helper(tls).address, privateKeyToAddress(`0x${secret}`), helper.name);
  }
  for (const [helper, secret] of [
    [toKeypair, constant],
    [toKeypairSecure, whole],
  ]) {
    assert.equal(toHex(helper(tls).secretKey.slice(0, 32)), secret, helper.name);
  }
}
