/** Signatures of the KMS's and the apps' secp256k1 keys: 65 bytes, the signer recovered from them. */

import { secp256k1 } from '@noble/curves/secp256k1.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { reasonOf, VerificationError } from './errors.js';

/** Length of r, s and recovery id. */
export const RECOVERABLE_LENGTH = 65;

/**
 * The compressed public key whose owner signed Keccak-256 of `message`.
 *
 * @throws VerificationError `signature` for a wrong length, a high s, a recovery id other than 0 or 1,
 *   or numbers that are no signature; `what` names the signature.
 */
export function recoverSigner(message: Uint8Array, signature: Uint8Array, what: string): Uint8Array {
  if (signature.length !== RECOVERABLE_LENGTH) {
    throw refused(what, `is ${signature.length} bytes, not ${RECOVERABLE_LENGTH}`);
  }
  const recoveryId = signature[RECOVERABLE_LENGTH - 1];
  if (recoveryId !== 0 && recoveryId !== 1) {
    throw refused(what, `has recovery id ${recoveryId}; only 0 and 1 are accepted`);
  }
  let parsed: InstanceType<typeof secp256k1.Signature>;
  try {
    parsed = secp256k1.Signature.fromBytes(signature.subarray(0, RECOVERABLE_LENGTH - 1), 'compact');
  } catch (error) {
    throw refused(what, `is malformed: ${reasonOf(error)}`);
  }
  if (parsed.hasHighS()) throw refused(what, 'has a high s');
  try {
    return parsed.addRecoveryBit(recoveryId).recoverPublicKey(keccak_256(message)).toBytes(true);
  } catch (error) {
    throw refused(what, `does not hold: ${reasonOf(error)}`);
  }
}

function refused(what: string, problem: string): VerificationError {
  return new VerificationError('signature', `${what} ${problem}`);
}
