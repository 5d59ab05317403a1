/** Keys and signatures of an app, traced to the root of its KMS. */

import { ed25519 } from '@noble/curves/ed25519.js';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes } from '@noble/hashes/utils.js';
import type { SignAnswer } from './answers.js';
import { type BytesLike, equalBytes, toBytes, toHex, utf8 } from './bytes.js';
import type { SignAlgorithm } from './client.js';
import { InputError, VerificationError } from './errors.js';
import type { KmsRoot } from './kms-root.js';
import { recoverSigner } from './recover.js';
import type { DerivedKey } from './secrets.js';

/** The purpose under which an app's signing key is certified. */
const SIGNING_PURPOSE = 'signing';

/** The part of a {@link KmsRoot} that key chains need. */
export type SigningRoot = Pick<KmsRoot, 'k256Public'>;

/**
 * Verifies that the KMS behind `root` gave the app `appId` the key `publicKey` for `purpose`.
 *
 * @param chain the two signatures of GetKey.
 * @returns the app's own public key, 33 bytes compressed.
 * @throws VerificationError `signature`.
 */
export function verifyKey(
  root: SigningRoot,
  appId: BytesLike,
  purpose: string,
  publicKey: BytesLike,
  chain: readonly BytesLike[],
): Uint8Array {
  const app = toBytes(appId, 'appId', 20);
  const key = toBytes(publicKey, 'publicKey');
  if (chain.length !== 2) {
    throw new VerificationError('signature', `the key's chain has ${chain.length} signatures, not 2`);
  }
  const byApp = toBytes(chain[0] ?? '', 'signature of the app key');
  const byRoot = toBytes(chain[1] ?? '', 'signature of the root');
  const appPublic = recoverSigner(utf8(`${purpose}:${toHex(key)}`), byApp, "the app key's signature");
  const issued = concatBytes(utf8('dstack-kms-issued:'), app, appPublic);
  const signer = recoverSigner(issued, byRoot, "the root's signature");
  if (!equalBytes(signer, root.k256Public)) {
    throw new VerificationError(
      'signature',
      `the chain leads to ${toHex(signer)}, not to the KMS root ${toHex(root.k256Public)}: ` +
        'another KMS, app, purpose or key',
    );
  }
  return appPublic;
}

/** As {@link verifyKey}, for a key as the agent answered it. */
export function verifyDerivedKey(root: SigningRoot, appId: BytesLike, key: DerivedKey): Uint8Array {
  return verifyKey(root, appId, key.purpose, publicKeyOf(key), key.signatureChain);
}

/** The public key of a derived key: 33 bytes compressed, or 32 for Ed25519. */
export function publicKeyOf(key: DerivedKey): Uint8Array {
  return key.algorithm === 'ed25519' ? ed25519.getPublicKey(key.key) : secp256k1.getPublicKey(key.key, true);
}

/**
 * Verifies that the app `appId` under the KMS behind `root` signed `data`.
 *
 * @returns the app's own public key, 33 bytes compressed.
 * @throws VerificationError `signature`; InputError for an unknown algorithm.
 */
export function verifySignature(
  root: SigningRoot,
  appId: BytesLike,
  algorithm: SignAlgorithm,
  data: BytesLike,
  answer: SignAnswer,
): Uint8Array {
  if (!signatureHolds(algorithm, toBytes(data, 'data'), answer.signature, answer.publicKey)) {
    throw new VerificationError('signature', 'the signature is not by the stated public key over this data');
  }
  const [first, ...keyChain] = answer.signatureChain;
  if (first === undefined || !equalBytes(first, answer.signature)) {
    throw new VerificationError('signature', 'the signature chain does not begin with the signature');
  }
  return verifyKey(root, appId, SIGNING_PURPOSE, answer.publicKey, keyChain);
}

function signatureHolds(
  algorithm: SignAlgorithm,
  data: Uint8Array,
  signature: Uint8Array,
  publicKey: Uint8Array,
): boolean {
  switch (algorithm) {
    case 'ed25519':
      return (
        signature.length === 64 &&
        publicKey.length === 32 &&
        holds(() => ed25519.verify(signature, data, publicKey, { zip215: false }))
      );
    case 'secp256k1':
    case 'k256':
      return secp256k1Holds(sha256(data), signature, publicKey);
    case 'secp256k1_prehashed':
      if (data.length !== 32) {
        throw new VerificationError('signature', `a digest is 32 bytes, not ${data.length}`);
      }
      return secp256k1Holds(data, signature, publicKey);
    default:
      throw new InputError(`unknown algorithm ${JSON.stringify(algorithm)}`);
  }
}

function secp256k1Holds(digest: Uint8Array, signature: Uint8Array, publicKey: Uint8Array): boolean {
  return (
    signature.length === 64 &&
    publicKey.length === 33 &&
    holds(() => secp256k1.verify(signature, digest, publicKey, { prehash: false, lowS: true }))
  );
}

/** The library throws for points and numbers that cannot be; they verify nothing. */
function holds(check: () => boolean): boolean {
  try {
    return check();
  } catch {
    return false;
  }
}
