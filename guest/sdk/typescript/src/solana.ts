/** Keypairs for `@solana/web3.js` 1.x (an optional peer dependency). */

import { Keypair } from '@solana/web3.js';
import { type AccountKey, solanaAccount, solanaAccountSecure } from './accounts.js';

/** The keypair of a key; see `solanaAccount`. */
export function toKeypair(key: AccountKey): Keypair {
  return Keypair.fromSecretKey(solanaAccount(key).secretKey);
}

/** As {@link toKeypair}, but of a TLS key SHA-256 of the whole DER is used. */
export function toKeypairSecure(key: AccountKey): Keypair {
  return Keypair.fromSecretKey(solanaAccountSecure(key).secretKey);
}
