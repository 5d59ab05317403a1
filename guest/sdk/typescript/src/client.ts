import {
  type AgentVersion,
  type AppInfo,
  type GpuInfo,
  type QuoteAnswer,
  readAnswer,
  readDerivedKey,
  readInfo,
  readQuote,
  readSignature,
  readTlsKey,
  type SignAnswer,
} from './answers.js';
import { type BytesLike, toBytes, toHex } from './bytes.js';
import { type Endpoint, findEndpoint, parseEndpoint } from './endpoint.js';
import { AgentError, BylawError, InputError } from './errors.js';
import type { Field } from './fields.js';
import type { DerivedKey, KeyAlgorithm, TlsKey } from './secrets.js';
import { callJson, DEFAULT_LIMITS, type Limits } from './transport.js';

/** How to reach the agent. */
export interface ClientOptions {
  /** Socket path or http(s) base URL; default: the environment's, else the mounted socket. */
  readonly endpoint?: string;
  /** Longest wait for a connection; default 3,000. */
  readonly connectTimeoutMs?: number;
  /** Longest wait for the whole answer; default 30,000. */
  readonly timeoutMs?: number;
}

/** What the certificate of a TLS key says. */
export interface TlsKeyOptions {
  /** Common name. */
  readonly subject?: string;
  /** DNS names and IP addresses. */
  readonly altNames?: readonly string[];
  /** Puts evidence for this key into the certificate. */
  readonly usageRaTls?: boolean;
  /** Default true. */
  readonly usageServerAuth?: boolean;
  readonly usageClientAuth?: boolean;
  /** Unix seconds. */
  readonly notBefore?: number;
  /** Unix seconds. */
  readonly notAfter?: number;
  /** Puts the app's measured identity into the certificate. */
  readonly withAppInfo?: boolean;
}

/** Algorithms of Sign and Verify. */
export type SignAlgorithm = 'ed25519' | 'secp256k1' | 'k256' | 'secp256k1_prehashed';

/** Report data is this long; shorter is padded with zeros on the right. */
export const REPORT_DATA_LENGTH = 64;

const REACHABLE_TIMEOUT_MS = 500;

/** The agent of the VM that this program runs in. Stateless; one connection a call. */
export class Client {
  readonly #stated: Endpoint | undefined;
  readonly #limits: Limits;

  /** @param options options, or the endpoint alone. */
  constructor(options: ClientOptions | string = {}) {
    const { endpoint, connectTimeoutMs, timeoutMs } =
      typeof options === 'string'
        ? { endpoint: options, connectTimeoutMs: undefined, timeoutMs: undefined }
        : options;
    this.#stated = endpoint === undefined ? undefined : parseEndpoint(endpoint);
    this.#limits = {
      ...DEFAULT_LIMITS,
      ...(connectTimeoutMs !== undefined && {
        connectTimeoutMs: milliseconds(connectTimeoutMs, 'connectTimeoutMs'),
      }),
      ...(timeoutMs !== undefined && { timeoutMs: milliseconds(timeoutMs, 'timeoutMs') }),
    };
  }

  /**
   * The app's key for `path`; the same for every instance and version of the app.
   *
   * `purpose` and `algorithm` do not change the 32 bytes, only what the signature chain says of
   * them: use one path for one purpose and one algorithm.
   */
  async getKey(path = '', purpose = '', algorithm: KeyAlgorithm = 'secp256k1'): Promise<DerivedKey> {
    const request = { path, purpose, algorithm };
    return this.#call('GetKey', request, (answer) => readDerivedKey(request, answer));
  }

  /** A fresh TLS key, certified by the app's CA. */
  async getTlsKey(options: TlsKeyOptions = {}): Promise<TlsKey> {
    const { notBefore, notAfter } = options;
    if (notBefore !== undefined && notAfter !== undefined && notBefore >= notAfter) {
      throw new InputError('notBefore must be earlier than notAfter');
    }
    const request = {
      subject: options.subject ?? '',
      alt_names: options.altNames ?? [],
      usage_ra_tls: options.usageRaTls ?? false,
      usage_server_auth: options.usageServerAuth ?? true,
      usage_client_auth: options.usageClientAuth ?? false,
      ...(notBefore !== undefined && { not_before: unixSeconds(notBefore, 'notBefore') }),
      ...(notAfter !== undefined && { not_after: unixSeconds(notAfter, 'notAfter') }),
      with_app_info: options.withAppInfo ?? false,
    };
    return this.#call('GetTlsKey', request, readTlsKey);
  }

  /** A quote over `reportData`, at most 64 bytes, with the event log. */
  async getQuote(reportData: BytesLike): Promise<QuoteAnswer> {
    return this.#call('GetQuote', { report_data: reportDataHex(reportData) }, readQuote);
  }

  /** Versioned attestation bytes over `reportData`, at most 64 bytes; for every platform. */
  async attest(reportData: BytesLike): Promise<Uint8Array> {
    const request = { report_data: reportDataHex(reportData) };
    return this.#call('Attest', request, (answer) => answer.get('attestation').hex());
  }

  /** Who this VM is, in its own words. */
  async info(): Promise<AppInfo> {
    return this.#call('Info', {}, readInfo);
  }

  /** Evidence of the GPUs; its text is empty where there are none. */
  async gpuInfo(): Promise<GpuInfo> {
    return this.#call('GpuInfo', {}, (answer) => ({ attestation: answer.get('attestation').string() }));
  }

  /** Signs with the app's signing key; `secp256k1_prehashed` takes a 32-byte digest. */
  async sign(algorithm: SignAlgorithm, data: BytesLike): Promise<SignAnswer> {
    return this.#call('Sign', { algorithm, data: toHex(toBytes(data, 'data')) }, readSignature);
  }

  /** Asks the agent whether `signature` is by `publicKey`. Says nothing about whose key it is: see verifySignature. */
  async verify(
    algorithm: SignAlgorithm,
    data: BytesLike,
    signature: BytesLike,
    publicKey: BytesLike,
  ): Promise<boolean> {
    const request = {
      algorithm,
      data: toHex(toBytes(data, 'data')),
      signature: toHex(toBytes(signature, 'signature')),
      public_key: toHex(toBytes(publicKey, 'publicKey')),
    };
    return this.#call('Verify', request, (answer) => answer.get('valid').boolean());
  }

  /** Extends RTMR3 with a named event: every quote from now on shows it. It cannot be undone. */
  async emitEvent(name: string, payload: BytesLike): Promise<void> {
    // A colon would make the digest ambiguous, so verifiers refuse the whole log.
    if (name === '' || name.includes(':')) {
      throw new InputError('an event name must not be empty or contain a colon');
    }
    const request = { event: name, payload: toHex(toBytes(payload, 'payload')) };
    await this.#call('EmitEvent', request, () => undefined);
  }

  /** The agent's version. */
  async version(): Promise<AgentVersion> {
    return this.#call('Version', {}, (answer) => ({
      version: answer.get('version').string(),
      rev: answer.get('rev').string(),
    }));
  }

  /** Whether the agent answers within half a second. */
  async isReachable(): Promise<boolean> {
    const limits = {
      ...this.#limits,
      connectTimeoutMs: REACHABLE_TIMEOUT_MS,
      timeoutMs: REACHABLE_TIMEOUT_MS,
    };
    try {
      await this.#call('Version', {}, () => undefined, limits);
      return true;
    } catch (error) {
      // Agents of dstack before 0.5.7 refuse this call, but they answer.
      if (error instanceof AgentError) return true;
      if (error instanceof BylawError) return false;
      throw error;
    }
  }

  async #call<T>(
    method: string,
    request: unknown,
    read: (answer: Field) => T,
    limits = this.#limits,
  ): Promise<T> {
    const endpoint = this.#stated ?? findEndpoint();
    return readAnswer(method, await callJson(endpoint, method, request, limits), read);
  }
}

function reportDataHex(reportData: BytesLike): string {
  const bytes = toBytes(reportData, 'reportData');
  if (bytes.length > REPORT_DATA_LENGTH) {
    throw new InputError(
      `reportData is ${bytes.length} bytes; the limit is ${REPORT_DATA_LENGTH}: sign a SHA-512 of it instead`,
    );
  }
  return toHex(bytes);
}

function unixSeconds(value: number, what: string): number {
  if (!Number.isSafeInteger(value) || value < 0) throw new InputError(`${what} must be whole Unix seconds`);
  return value;
}

function milliseconds(value: number, what: string): number {
  // Longer ones overflow the timer and would fire at once.
  if (!Number.isSafeInteger(value) || value < 1 || value > 0x7fff_ffff) {
    throw new InputError(`${what} must be a whole number of milliseconds above 0`);
  }
  return value;
}
