/** Answers that hold secrets: they can be read, but do not print. */

import { inspect } from 'node:util';
import { base64 } from '@scure/base';
import { InputError } from './errors.js';

const HIDDEN = '[secret]';

/** Algorithms of {@link Client.getKey}. */
export type KeyAlgorithm = 'secp256k1' | 'k256' | 'ed25519';

/** A key of the app, as GetKey answers it. */
export class DerivedKey {
  readonly path: string;
  readonly purpose: string;
  readonly algorithm: KeyAlgorithm;
  /**
   * By the app's key over purpose and public key, then by the KMS root over the app's key.
   * The second is empty without a KMS.
   */
  readonly signatureChain: readonly Uint8Array[];
  readonly #key: Uint8Array;

  constructor(
    request: { path: string; purpose: string; algorithm: KeyAlgorithm },
    key: Uint8Array,
    signatureChain: readonly Uint8Array[],
  ) {
    this.path = request.path;
    this.purpose = request.purpose;
    this.algorithm = request.algorithm;
    this.signatureChain = signatureChain;
    this.#key = key;
  }

  /** The 32 secret bytes: a secp256k1 scalar, or an Ed25519 seed. */
  get key(): Uint8Array {
    return this.#key;
  }

  toString(): string {
    return `DerivedKey(path ${JSON.stringify(this.path)}, ${HIDDEN})`;
  }

  toJSON(): unknown {
    return { path: this.path, purpose: this.purpose, algorithm: this.algorithm, key: HIDDEN };
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** A TLS key and its certificate chain, as GetTlsKey answers them. */
export class TlsKey {
  /** PEM, the leaf first. */
  readonly certificateChain: readonly string[];
  readonly #key: string;

  constructor(key: string, certificateChain: readonly string[]) {
    this.#key = key;
    this.certificateChain = certificateChain;
  }

  /** The secret key, PKCS#8 PEM. */
  get key(): string {
    return this.#key;
  }

  /** The secret key, PKCS#8 DER. */
  keyDer(): Uint8Array {
    return pkcs8Der(this.#key);
  }

  toString(): string {
    return `TlsKey(${this.certificateChain.length} certificates, ${HIDDEN})`;
  }

  toJSON(): unknown {
    return { certificateChain: this.certificateChain, key: HIDDEN };
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** DER inside a `BEGIN PRIVATE KEY` PEM. */
export function pkcs8Der(pem: string): Uint8Array {
  const body = /-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----/.exec(pem)?.[1];
  try {
    if (body !== undefined) return base64.decode(body.replace(/\s+/g, ''));
  } catch {
    // As below, without the library's message: it could quote the key.
  }
  throw new InputError('the TLS key is not a PKCS#8 PEM (BEGIN PRIVATE KEY)');
}
