/** Collateral: what Intel says about platforms, and where it comes from. */

import { hexToBytes } from '@noble/hashes/utils.js';
import { fromUtf8 } from './bytes.js';
import { InputError, reasonOf, VerificationError } from './errors.js';
import { Field } from './fields.js';
import { fetchLimited, type PlainAnswer } from './http-get.js';
import type { CollateralKey } from './tdx/verify.js';

/** Everything that a TDX quote is verified against, as fetched. Nothing of it is believed unverified. */
export interface Collateral {
  /** DER. */
  readonly rootCaCrl: Uint8Array;
  /** DER. */
  readonly pckCrl: Uint8Array;
  /** PEM. */
  readonly tcbInfoIssuerChain: string;
  /** The exact text that is signed. */
  readonly tcbInfo: string;
  readonly tcbInfoSignature: Uint8Array;
  /** PEM. */
  readonly qeIdentityIssuerChain: string;
  /** The exact text that is signed. */
  readonly qeIdentity: string;
  readonly qeIdentitySignature: Uint8Array;
}

/** Where collateral comes from. */
export interface CollateralSource {
  /** @throws VerificationError `collateral` when there is none. */
  collateral(key: CollateralKey): Promise<Collateral>;
}

/** Intel's own service. */
export const INTEL_PCS = 'https://api.trustedservices.intel.com';

const INTEL_ROOT_CRL = 'https://certificates.trustedservices.intel.com/IntelSGXRootCA.der';
const MAX_ANSWER = 1024 * 1024;
const TIMEOUT_MS = 10_000;
/** Answers are asked for again after this long, milliseconds. */
const DEFAULT_MAX_AGE_MS = 60 * 60 * 1000;

/** A PCCS or Intel's PCS (API version 4), with a memory of its answers. */
export class Pccs implements CollateralSource {
  readonly #base: string;
  readonly #maxAgeMs: number;
  readonly #known = new Map<string, { readonly at: number; readonly collateral: Promise<Collateral> }>();

  /** @param url base URL, e.g. {@link INTEL_PCS}; a trailing API path is dropped. */
  constructor(url: string = INTEL_PCS, options: { readonly maxAgeMs?: number } = {}) {
    if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) {
      throw new InputError(`the collateral service ${JSON.stringify(url)} is not an http:// or https:// URL`);
    }
    this.#base = url.replace(/\/+$/, '').replace(/\/(sgx|tdx)\/certification\/v4$/, '');
    this.#maxAgeMs = options.maxAgeMs ?? DEFAULT_MAX_AGE_MS;
  }

  async collateral(key: CollateralKey): Promise<Collateral> {
    const name = `${key.fmspc}/${key.ca}`;
    const known = this.#known.get(name);
    if (known !== undefined && performance.now() - known.at < this.#maxAgeMs) return known.collateral;
    const collateral = this.#fetch(key);
    this.#known.set(name, { at: performance.now(), collateral });
    // A failure is not remembered.
    collateral.catch(() => this.#known.delete(name));
    return collateral;
  }

  async #fetch(key: CollateralKey): Promise<Collateral> {
    const { ca, fmspc } = key;
    const [pckCrl, rootCaCrl, tcb, qe] = await Promise.all([
      this.#get(`/sgx/certification/v4/pckcrl?ca=${ca}&encoding=der`),
      this.#rootCrl(),
      this.#get(`/tdx/certification/v4/tcb?fmspc=${fmspc}`),
      this.#get('/tdx/certification/v4/qe/identity?update=standard'),
    ]);
    try {
      const info = signedMember(tcb.body, 'tcbInfo');
      const identity = signedMember(qe.body, 'enclaveIdentity');
      return {
        rootCaCrl: derOrHex(rootCaCrl.body),
        pckCrl: derOrHex(pckCrl.body),
        tcbInfoIssuerChain: issuerChain(tcb, 'TCB-Info-Issuer-Chain', 'SGX-TCB-Info-Issuer-Chain'),
        tcbInfo: info.text,
        tcbInfoSignature: info.signature,
        qeIdentityIssuerChain: issuerChain(qe, 'SGX-Enclave-Identity-Issuer-Chain'),
        qeIdentity: identity.text,
        qeIdentitySignature: identity.signature,
      };
    } catch (error) {
      throw new VerificationError('collateral', `${this.#base} answered something else: ${reasonOf(error)}`, {
        cause: error,
      });
    }
  }

  async #get(path: string): Promise<PlainAnswer> {
    return get(`${this.#base}${path}`);
  }

  /** A PCCS serves the root's CRL; Intel's own service has it only at its distribution point. */
  async #rootCrl(): Promise<PlainAnswer> {
    const intel = new URL(this.#base).hostname.endsWith('.trustedservices.intel.com');
    return intel ? get(INTEL_ROOT_CRL) : this.#get('/sgx/certification/v4/rootcacrl');
  }
}

async function get(url: string): Promise<PlainAnswer> {
  try {
    return await fetchLimited(url, {}, { timeoutMs: TIMEOUT_MS, maxBytes: MAX_ANSWER });
  } catch (error) {
    throw new VerificationError('collateral', `no collateral: ${reasonOf(error)}`, { cause: error });
  }
}

/** Collateral in the JSON form of dcap-qvl; bytes are hexadecimal text or arrays of numbers. */
export function collateralOfJson(value: unknown): Collateral {
  try {
    const json = new Field(typeof value === 'string' ? JSON.parse(value) : value, '');
    const bytes = (name: string) => {
      const field = json.get(name);
      return typeof field.value === 'string' ? field.hex() : field.byteList();
    };
    return {
      rootCaCrl: bytes('root_ca_crl'),
      pckCrl: bytes('pck_crl'),
      tcbInfoIssuerChain: json.get('tcb_info_issuer_chain').string(),
      tcbInfo: json.get('tcb_info').string(),
      tcbInfoSignature: bytes('tcb_info_signature'),
      qeIdentityIssuerChain: json.get('qe_identity_issuer_chain').string(),
      qeIdentity: json.get('qe_identity').string(),
      qeIdentitySignature: bytes('qe_identity_signature'),
    };
  } catch (error) {
    throw new VerificationError('collateral', `the collateral's ${reasonOf(error)}`, { cause: error });
  }
}

function issuerChain(answer: PlainAnswer, ...names: string[]): string {
  const found = names.map((name) => answer.headers.get(name)).find((value) => value !== null);
  if (found === undefined || found === null) throw new Error(`header ${names.join(' or ')} is missing`);
  return decodeURIComponent(found);
}

/** Some services send CRLs as hexadecimal text. */
function derOrHex(body: Uint8Array): Uint8Array {
  // DER of a CRL begins with 0x30 0x82, which is no text of hexadecimal digits.
  const text = Buffer.from(body).toString('latin1').trim();
  return /^([0-9a-fA-F]{2})+$/.test(text) ? hexToBytes(text) : body;
}

/** The exact text of the member `name`, which is what is signed, and the signature beside it. */
function signedMember(body: Uint8Array, name: string): { text: string; signature: Uint8Array } {
  const whole = fromUtf8(body);
  const answer = new Field(JSON.parse(whole), '').onlyMembers(name, 'signature');
  const member = answer.get(name).object();
  const signature = answer.get('signature').hex(64);
  const text = firstObjectWithin(whole);
  // Were the text another one than the member, the signature could be checked over what is not read.
  if (JSON.stringify(JSON.parse(text)) !== JSON.stringify(member)) {
    throw new Error(`${name} cannot be told apart from its surroundings`);
  }
  return { text, signature };
}

/** The text of the first object inside the object `json`, which is valid JSON. */
function firstObjectWithin(json: string): string {
  let depth = 0;
  let start = -1;
  for (const token of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}]/gs)) {
    if (token[0] === '{') {
      depth += 1;
      if (depth === 2) start = token.index;
    } else if (token[0] === '}') {
      if (depth === 2) return json.slice(start, token.index + 1);
      depth -= 1;
    }
  }
  throw new Error('the answer holds no object');
}
