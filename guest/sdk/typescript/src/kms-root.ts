/** The root of a KMS, as the KmsAuth contract names it. */

import { createPublicKey } from 'node:crypto';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { createContract } from 'micro-eth-signer/abi.js';
import { type BytesLike, equalBytes, fromUtf8, toBytes, toHex } from './bytes.js';
import { AnswerError, InputError, reasonOf, VerificationError } from './errors.js';
import { Field } from './fields.js';
import { fetchLimited } from './http-get.js';

/** What every key and certificate of a KMS leads to. */
export interface KmsRoot {
  /** The secp256k1 root, 33 bytes compressed. */
  readonly k256Public: Uint8Array;
  /** DER SubjectPublicKeyInfo of the root CA. */
  readonly caSpki: Uint8Array;
}

const KMS_INFO = [
  {
    type: 'function',
    name: 'kmsInfo',
    inputs: [],
    outputs: [
      { name: 'k256Pubkey', type: 'bytes' },
      { name: 'caPubkey', type: 'bytes' },
      { name: 'quote', type: 'bytes' },
      { name: 'eventlog', type: 'bytes' },
    ],
    stateMutability: 'view',
  },
] as const;

const LIMITS = { timeoutMs: 30_000, maxBytes: 16 * 1024 * 1024 };

/**
 * Asks an Ethereum node for `kmsInfo()` of the contract `kmsAuth`, as of the last finalized block.
 *
 * The node is believed: use your own, or ask several and compare.
 *
 * @throws TransportError, AnswerError, or VerificationError `kms_root` when the contract names none.
 */
export async function fetchKmsRoot(rpcUrl: string, kmsAuth: BytesLike): Promise<KmsRoot> {
  if (!URL.canParse(rpcUrl)) throw new InputError('rpcUrl is not a URL');
  const to = `0x${toHex(toBytes(kmsAuth, 'kmsAuth', 20))}`;
  const data = `0x${toHex(createContract(KMS_INFO).kmsInfo.encodeInput())}`;
  const request = { jsonrpc: '2.0', id: 1, method: 'eth_call', params: [{ to, data }, 'finalized'] };
  const { body } = await fetchLimited(
    rpcUrl,
    {
      method: 'POST',
      redirect: 'error',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request),
    },
    LIMITS,
  );
  return decodeKmsInfo(readResult(body));
}

function readResult(body: Uint8Array): Uint8Array {
  let answer: Field;
  try {
    answer = new Field(JSON.parse(fromUtf8(body)), '');
    answer.object();
  } catch {
    throw new AnswerError('eth_call: the answer is not a JSON object');
  }
  const error = answer.find('error')?.value;
  if (error !== undefined && error !== null) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    throw new AnswerError(`eth_call: the node refused: ${String(message)} (code ${String(code)})`);
  }
  try {
    return answer.get('result').hex();
  } catch (cause) {
    throw new AnswerError(`eth_call: the answer's ${reasonOf(cause)}`, { cause });
  }
}

/** Decodes what `eth_call` of `kmsInfo()` returned. */
export function decodeKmsInfo(returnData: Uint8Array): KmsRoot {
  if (returnData.length === 0) {
    throw new VerificationError(
      'kms_root',
      'kmsInfo() returned nothing: there is no KmsAuth at this address',
    );
  }
  let k256Public: Uint8Array;
  let caSpki: Uint8Array;
  try {
    const info = createContract(KMS_INFO).kmsInfo.decodeOutput(returnData);
    k256Public = info.k256Pubkey;
    caSpki = info.caPubkey;
  } catch (error) {
    throw new VerificationError('kms_root', `kmsInfo() returned something else: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  if (k256Public.length === 0 || caSpki.length === 0) {
    throw new VerificationError('kms_root', 'KmsAuth names no KMS root');
  }
  if (!secp256k1.utils.isValidPublicKey(k256Public, true)) {
    throw new VerificationError('kms_root', "KmsAuth's k256Pubkey is not a compressed secp256k1 key");
  }
  if (!isSpki(caSpki)) {
    throw new VerificationError('kms_root', "KmsAuth's caPubkey is not a DER SubjectPublicKeyInfo");
  }
  return { k256Public, caSpki };
}

function isSpki(der: Uint8Array): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' });
    return equalBytes(key.export({ format: 'der', type: 'spki' }), der);
  } catch {
    return false;
  }
}
