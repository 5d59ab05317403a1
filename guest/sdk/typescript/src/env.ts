/** Encrypting an app's environment variables, so that only the app can read them. */

import { gcm } from '@noble/ciphers/aes.js';
import { x25519 } from '@noble/curves/ed25519.js';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { concatBytes, randomBytes } from '@noble/hashes/utils.js';
import { type BytesLike, toBytes, utf8 } from './bytes.js';
import { InputError } from './errors.js';
import { RECOVERABLE_LENGTH } from './recover.js';

/** One variable. */
export interface EnvVar {
  readonly key: string;
  readonly value: string;
}

/** Variables as a list, or as an object. */
export type EnvVars = readonly EnvVar[] | Readonly<Record<string, string>>;

/**
 * Who vouches for an environment: a 32-byte secp256k1 secret, or a function that signs a 32-byte
 * digest and returns r, s and v (0, 1, 27 or 28), 65 bytes.
 */
export type EnvSigner = Uint8Array | ((digest: Uint8Array) => BytesLike | Promise<BytesLike>);

const NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
const MAX_NAME_LENGTH = 255;
const MAX_VALUE_LENGTH = 131_072;
const MAX_FILE_LENGTH = 262_144;

const MAGIC = concatBytes(utf8('BYLAWENV'), Uint8Array.of(2));
const SALT = utf8('bylaw-env-v2');
const DOMAIN_TYPE = 'EIP712Domain(string name,string version,address verifyingContract)';
const MESSAGE_TYPE = 'EncryptedEnvironment(uint64 revision,bytes32 sealed)';

/** Random input of one encryption; given only where vectors are checked. */
export interface Ephemeral {
  readonly secret: Uint8Array;
  readonly iv: Uint8Array;
}

/**
 * Encrypts for the environment key of an app, in dstack's format: secret, but from anybody.
 *
 * Anyone who knows the public key can make such a file; {@link encryptEnvSigned} says who did.
 *
 * @param recipientPublic the key of the app, verified with `verifyEnvKey`.
 */
export function encryptEnv(vars: EnvVars, recipientPublic: BytesLike): Uint8Array {
  return sealV1(envPlaintext(vars), toBytes(recipientPublic, 'recipientPublic', 32), freshEphemeral());
}

/**
 * Encrypts for the environment key of an app and signs for which app and in which order.
 *
 * The guest opens it when its compose file names the signer and `revision` is not below the last
 * one it has seen.
 */
export async function encryptEnvSigned(
  vars: EnvVars,
  recipientPublic: BytesLike,
  appId: BytesLike,
  revision: number | bigint,
  signer: EnvSigner,
): Promise<Uint8Array> {
  const order = revisionOf(revision);
  const sealed = sealV2(
    envPlaintext(vars),
    toBytes(recipientPublic, 'recipientPublic', 32),
    toBytes(appId, 'appId', 20),
    order,
    freshEphemeral(),
  );
  const signature = await signDigest(envDigest(appId, order, sealed), signer);
  const envelope = concatBytes(MAGIC, bigEndian(order), signature, sealed);
  if (envelope.length > MAX_FILE_LENGTH) throw tooLong(envelope.length);
  return envelope;
}

/** The EIP-712 digest that the signer of an environment signs. */
export function envDigest(appId: BytesLike, revision: number | bigint, sealed: Uint8Array): Uint8Array {
  const hashOf = (text: string) => keccak_256(utf8(text));
  // Each type has fixed members of one word each, so its encoding is a row of words.
  const domain = keccak_256(
    concatBytes(
      hashOf(DOMAIN_TYPE),
      hashOf('Bylaw environment'),
      hashOf('2'),
      word(toBytes(appId, 'appId', 20)),
    ),
  );
  const message = keccak_256(
    concatBytes(hashOf(MESSAGE_TYPE), word(bigEndian(revisionOf(revision))), keccak_256(sealed)),
  );
  return keccak_256(concatBytes(Uint8Array.of(0x19, 0x01), domain, message));
}

/** A number or address as a word of 32 bytes. */
function word(bytes: Uint8Array): Uint8Array {
  const padded = new Uint8Array(32);
  padded.set(bytes, padded.length - bytes.length);
  return padded;
}

/** The checked variables as the JSON that is encrypted. */
export function envPlaintext(vars: EnvVars): Uint8Array {
  const list = listOf(vars);
  const seen = new Set<string>();
  for (const { key, value } of list) {
    if (typeof key !== 'string' || typeof value !== 'string') {
      throw new InputError('each variable needs a key and a value, both strings');
    }
    // JavaScript's $ without the m flag matches only at the very end: a line break does not pass.
    if (!NAME.test(key) || key.length > MAX_NAME_LENGTH) {
      throw new InputError(
        `${JSON.stringify(key.slice(0, 64))} is not a variable name: letters, digits and _, no digit first, ` +
          `at most ${MAX_NAME_LENGTH}`,
      );
    }
    if (seen.has(key)) throw new InputError(`variable ${key} appears twice`);
    seen.add(key);
    if (value.includes('\0')) throw new InputError(`the value of ${key} has a NUL character`);
    if (!value.isWellFormed()) throw new InputError(`the value of ${key} is not well-formed Unicode`);
    const length = utf8(value).length;
    if (length > MAX_VALUE_LENGTH) {
      throw new InputError(`the value of ${key} is ${length} bytes; the limit is ${MAX_VALUE_LENGTH}`);
    }
  }
  return utf8(JSON.stringify({ env: list.map(({ key, value }) => ({ key, value })) }));
}

function listOf(vars: EnvVars): readonly EnvVar[] {
  if (Array.isArray(vars)) return vars as readonly EnvVar[];
  if (typeof vars !== 'object' || vars === null)
    throw new InputError('variables must be a list or an object');
  return Object.entries(vars).map(([key, value]) => ({ key, value: value as string }));
}

/** Seals with the raw shared secret, as dstack does. */
export function sealV1(plaintext: Uint8Array, recipient: Uint8Array, ephemeral: Ephemeral): Uint8Array {
  const { own, shared } = agree(recipient, ephemeral);
  const sealed = concatBytes(own, ephemeral.iv, gcm(shared, ephemeral.iv).encrypt(plaintext));
  if (sealed.length > MAX_FILE_LENGTH) throw tooLong(sealed.length);
  return sealed;
}

/** Seals with a key of both public keys and the app, bound to app and revision. */
export function sealV2(
  plaintext: Uint8Array,
  recipient: Uint8Array,
  appId: Uint8Array,
  revision: bigint,
  ephemeral: Ephemeral,
): Uint8Array {
  const { own, shared } = agree(recipient, ephemeral);
  const key = hkdf(sha256, shared, SALT, concatBytes(own, recipient, appId), 32);
  const bound = concatBytes(MAGIC, bigEndian(revision), appId);
  return concatBytes(own, ephemeral.iv, gcm(key, ephemeral.iv, bound).encrypt(plaintext));
}

function freshEphemeral(): Ephemeral {
  return { secret: randomBytes(32), iv: randomBytes(12) };
}

function agree(recipient: Uint8Array, ephemeral: Ephemeral): { own: Uint8Array; shared: Uint8Array } {
  let shared: Uint8Array;
  try {
    // The library refuses an all-zero shared secret, as RFC 7748 allows.
    shared = x25519.getSharedSecret(ephemeral.secret, recipient);
  } catch (error) {
    throw new InputError('recipientPublic is not a usable X25519 key: the shared secret would be zero', {
      cause: error,
    });
  }
  return { own: x25519.getPublicKey(ephemeral.secret), shared };
}

async function signDigest(digest: Uint8Array, signer: EnvSigner): Promise<Uint8Array> {
  if (typeof signer === 'function') return normalSignature(toBytes(await signer(digest), 'signature'));
  const secret = toBytes(signer, 'signer', 32);
  if (!secp256k1.utils.isValidSecretKey(secret)) throw new InputError('signer is not a secp256k1 secret key');
  const recovered = secp256k1.sign(digest, secret, { prehash: false, lowS: true, format: 'recovered' });
  // The library puts the recovery id first.
  return concatBytes(recovered.subarray(1), recovered.subarray(0, 1));
}

/** r, s and v with v as 0 or 1; a high s is refused, since the guest refuses it. */
function normalSignature(signature: Uint8Array): Uint8Array {
  if (signature.length !== RECOVERABLE_LENGTH) {
    throw new InputError(`the signer returned ${signature.length} bytes, not ${RECOVERABLE_LENGTH}`);
  }
  const v = signature[RECOVERABLE_LENGTH - 1] ?? 0;
  const normal = v === 27 || v === 28 ? v - 27 : v;
  if (normal > 1) throw new InputError(`the signer returned v ${v}, not 0, 1, 27 or 28`);
  const compact = signature.subarray(0, RECOVERABLE_LENGTH - 1);
  let highS: boolean;
  try {
    highS = secp256k1.Signature.fromBytes(compact, 'compact').hasHighS();
  } catch (error) {
    throw new InputError('the signer returned numbers that are no signature', { cause: error });
  }
  if (highS) throw new InputError('the signer returned a high s; only the low form is accepted');
  return concatBytes(compact, Uint8Array.of(normal));
}

function revisionOf(revision: number | bigint): bigint {
  if (typeof revision === 'number' && !Number.isSafeInteger(revision)) {
    throw new InputError('revision must be a whole number; use a bigint beyond 2^53');
  }
  const order = BigInt(revision);
  if (order < 0n || order >= 1n << 64n) throw new InputError('revision must be within 0 to 2^64 - 1');
  return order;
}

function bigEndian(revision: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, revision);
  return bytes;
}

function tooLong(length: number): InputError {
  return new InputError(`the encrypted environment is ${length} bytes; the limit is ${MAX_FILE_LENGTH}`);
}
