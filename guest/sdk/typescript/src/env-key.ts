/** The key that encrypts an app's environment, as its KMS states it. */

import { concatBytes } from '@noble/hashes/utils.js';
import { type BytesLike, equalBytes, toBytes, toHex, utf8 } from './bytes.js';
import { InputError, VerificationError } from './errors.js';
import { recoverSigner } from './recover.js';

/** How far a KMS's clock may be ahead, seconds. */
const FUTURE_TOLERANCE = 60;
/** Oldest accepted statement by default, seconds. */
const DEFAULT_MAX_AGE = 300;

const TAG = utf8('dstack-env-encrypt-pubkey:');

/** What a statement about an environment key is checked against. */
export interface EnvKeyExpectations {
  /** The KMS root, 33 bytes compressed; without it, compare the returned signer yourself. */
  readonly expectedRoot?: BytesLike;
}

/** The same, with time. */
export interface TimedEnvKeyExpectations extends EnvKeyExpectations {
  /** Unix seconds; default: the clock. */
  readonly now?: number;
  /** Seconds; default 300. */
  readonly maxAge?: number;
}

/**
 * Verifies the KMS's statement that `publicKey` encrypts for `appId`, made at `timestamp`.
 *
 * @param signature `signature_v1` of GetAppEnvEncryptPubKey.
 * @returns the signer, 33 bytes compressed: the KMS root, if it is the one you expect.
 * @throws VerificationError `expired` or `signature`.
 */
export function verifyEnvKey(
  publicKey: BytesLike,
  appId: BytesLike,
  timestamp: number,
  signature: BytesLike,
  expected: TimedEnvKeyExpectations = {},
): Uint8Array {
  if (!Number.isSafeInteger(timestamp) || timestamp < 0) {
    throw new InputError('timestamp must be whole Unix seconds');
  }
  const now = expected.now ?? Math.floor(Date.now() / 1000);
  const maxAge = expected.maxAge ?? DEFAULT_MAX_AGE;
  if (timestamp > now + FUTURE_TOLERANCE) {
    throw new VerificationError(
      'expired',
      `the key was signed ${timestamp - now} s in the future: check the clock`,
    );
  }
  if (now - timestamp > maxAge) {
    throw new VerificationError(
      'expired',
      `the key was signed ${now - timestamp} s ago; the limit is ${maxAge} s: ask the KMS again`,
    );
  }
  const time = new Uint8Array(8);
  new DataView(time.buffer).setBigUint64(0, BigInt(timestamp));
  return signerOf([appBytes(appId), time, keyBytes(publicKey)], signature, expected);
}

/** Verifies the older statement without a time. It may be arbitrarily old: prefer {@link verifyEnvKey}. */
export function verifyEnvKeyLegacy(
  publicKey: BytesLike,
  appId: BytesLike,
  signature: BytesLike,
  expected: EnvKeyExpectations = {},
): Uint8Array {
  return signerOf([appBytes(appId), keyBytes(publicKey)], signature, expected);
}

const appBytes = (appId: BytesLike) => toBytes(appId, 'appId', 20);
const keyBytes = (publicKey: BytesLike) => toBytes(publicKey, 'publicKey', 32);

function signerOf(parts: Uint8Array[], signature: BytesLike, expected: EnvKeyExpectations): Uint8Array {
  const message = concatBytes(TAG, ...parts);
  const signer = recoverSigner(message, toBytes(signature, 'signature'), "the KMS's signature");
  if (expected.expectedRoot !== undefined) {
    const root = toBytes(expected.expectedRoot, 'expectedRoot', 33);
    if (!equalBytes(signer, root)) {
      throw new VerificationError(
        'signature',
        `signed by ${toHex(signer)}, not by the expected root ${toHex(root)}: another KMS, app or key`,
      );
    }
  }
  return signer;
}
