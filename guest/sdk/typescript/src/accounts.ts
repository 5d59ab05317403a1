/** Blockchain accounts from the keys of an app. */

import { inspect } from 'node:util';
import { ed25519 } from '@noble/curves/ed25519.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes } from '@noble/hashes/utils.js';
import { base58 } from '@scure/base';
import { addr } from 'micro-eth-signer';
import { toBytes } from './bytes.js';
import { InputError } from './errors.js';
import { DerivedKey, TlsKey } from './secrets.js';

/** A key to make an account of: of GetKey, of GetTlsKey, or 32 bytes. */
export type AccountKey = DerivedKey | TlsKey | Uint8Array;

/** An Ethereum account. The secret does not print. */
export class EthereumAccount {
  /** With checksum. */
  readonly address: `0x${string}`;
  readonly #secret: Uint8Array;

  constructor(secret: Uint8Array) {
    try {
      this.address = addr.fromPrivateKey(secret) as `0x${string}`;
    } catch {
      throw new InputError('the key is not a secp256k1 secret key');
    }
    this.#secret = secret;
  }

  /** The 32-byte secret key. */
  get secretKey(): Uint8Array {
    return this.#secret;
  }

  toString(): string {
    return this.address;
  }

  toJSON(): unknown {
    return { address: this.address };
  }

  [inspect.custom](): string {
    return `EthereumAccount(${this.address})`;
  }
}

/** A Solana account. The secret does not print. */
export class SolanaAccount {
  /** The public key, base58. */
  readonly address: string;
  readonly publicKey: Uint8Array;
  readonly #seed: Uint8Array;

  constructor(seed: Uint8Array) {
    this.publicKey = ed25519.getPublicKey(seed);
    this.address = base58.encode(this.publicKey);
    this.#seed = seed;
  }

  /** Seed and public key, 64 bytes: the form that Solana's libraries take. */
  get secretKey(): Uint8Array {
    return concatBytes(this.#seed, this.publicKey);
  }

  toString(): string {
    return this.address;
  }

  toJSON(): unknown {
    return { address: this.address };
  }

  [inspect.custom](): string {
    return `SolanaAccount(${this.address})`;
  }
}

/**
 * The Ethereum account of a key.
 *
 * Of a {@link TlsKey} the first 32 bytes of its DER are used, as old programs did. They are the same
 * for every key, so that account belongs to everybody: this is for finding what was put there.
 */
export function ethereumAccount(key: AccountKey): EthereumAccount {
  return new EthereumAccount(accountSecret(key));
}

/** As {@link ethereumAccount}, but of a {@link TlsKey} SHA-256 of the whole DER is used. */
export function ethereumAccountSecure(key: AccountKey): EthereumAccount {
  return new EthereumAccount(accountSecretSecure(key));
}

/** The Solana account of a key; of a {@link TlsKey} as in {@link ethereumAccount}. */
export function solanaAccount(key: AccountKey): SolanaAccount {
  return new SolanaAccount(accountSecret(key));
}

/** As {@link solanaAccount}, but of a {@link TlsKey} SHA-256 of the whole DER is used. */
export function solanaAccountSecure(key: AccountKey): SolanaAccount {
  return new SolanaAccount(accountSecretSecure(key));
}

function accountSecret(key: AccountKey): Uint8Array {
  if (!(key instanceof TlsKey)) return rawSecret(key);
  const der = key.keyDer();
  if (der.length < 32) throw new InputError('the TLS key is shorter than 32 bytes');
  return der.slice(0, 32);
}

function accountSecretSecure(key: AccountKey): Uint8Array {
  return key instanceof TlsKey ? sha256(key.keyDer()) : rawSecret(key);
}

function rawSecret(key: DerivedKey | Uint8Array): Uint8Array {
  return toBytes(key instanceof DerivedKey ? key.key : key, 'key', 32);
}
