/** The layout of TDX quotes, versions 4 and 5. */

import { equalBytes, fromUtf8, toHex } from '../bytes.js';
import { Reader } from '../reader.js';
import { certificatesOfPem } from '../x509/certificate.js';

/** Longest quote that is read, bytes. Real ones have about 5,000. */
const MAX_QUOTE_LENGTH = 64 * 1024;
const HEADER_LENGTH = 48;
const TEE_TYPE_TDX = 0x81;
const KEY_TYPE_ECDSA_P256 = 2;
const INTEL_QE_VENDOR = '939a7233f79c4ca9940a0db3957f0607';

const BODY_TD10 = 2;
const BODY_TD15 = 3;
const BODY_TD15_EX = 4;
const BODY_LENGTHS: ReadonlyMap<number, number> = new Map([
  [BODY_TD10, 584],
  [BODY_TD15, 648],
  [BODY_TD15_EX, 885],
]);

const CERTIFICATION_QE_REPORT = 6;
const CERTIFICATION_PCK_CHAIN = 5;

/** The measured part of a quote. */
export interface TdReport {
  readonly teeTcbSvn: Uint8Array;
  readonly mrSeam: Uint8Array;
  readonly mrSignerSeam: Uint8Array;
  readonly seamAttributes: Uint8Array;
  readonly tdAttributes: Uint8Array;
  readonly mrTd: Uint8Array;
  readonly mrConfigId: Uint8Array;
  readonly mrOwner: Uint8Array;
  readonly mrOwnerConfig: Uint8Array;
  readonly rtmr: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  readonly reportData: Uint8Array;
  /** Of TDX 1.5 only. */
  readonly td15?: { readonly teeTcbSvn2: Uint8Array; readonly mrServiceTd: Uint8Array };
}

/** The report of the quoting enclave, as far as it is judged. */
export interface QeReport {
  readonly bytes: Uint8Array;
  readonly miscSelect: Uint8Array;
  readonly attributes: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly isvProdId: number;
  readonly isvSvn: number;
  readonly reportData: Uint8Array;
}

/** A parsed quote. Nothing about it is verified. */
export interface TdxQuote {
  /** The bytes that the attestation key signed. */
  readonly signed: Uint8Array;
  readonly report: TdReport;
  readonly signature: Uint8Array;
  /** X and Y of the attestation key. */
  readonly attestationKey: Uint8Array;
  readonly qeReport: QeReport;
  readonly qeReportSignature: Uint8Array;
  readonly qeAuthData: Uint8Array;
  /** DER, the PCK certificate first. */
  readonly pckChain: readonly Uint8Array[];
}

/** @throws Error saying what is malformed. */
export function parseQuote(quote: Uint8Array): TdxQuote {
  if (quote.length > MAX_QUOTE_LENGTH) {
    throw new Error(`${quote.length} bytes; the limit is ${MAX_QUOTE_LENGTH}`);
  }
  const reader = new Reader(quote);
  const version = readHeader(reader);
  const report = version === 4 ? readBody(reader, BODY_TD10) : readTypedBody(reader);
  const signed = quote.slice(0, reader.offset);
  // Buffers may be longer than the quote; what follows the signature data is nobody's.
  const auth = new Reader(reader.take(reader.u32('signature data length'), 'signature data'));
  return { signed, report, ...readAuth(auth) };
}

function readHeader(reader: Reader): 4 | 5 {
  const version = reader.u16('version');
  if (version !== 4 && version !== 5) throw new Error(`version ${version}, not 4 or 5`);
  const keyType = reader.u16('attestation key type');
  if (keyType !== KEY_TYPE_ECDSA_P256) throw new Error(`attestation key type ${keyType}, not ECDSA P-256`);
  const teeType = reader.u32('TEE type');
  if (teeType !== TEE_TYPE_TDX) throw new Error(`TEE type ${teeType}, not TDX`);
  reader.take(4, 'reserved bytes');
  const vendor = toHex(reader.take(16, 'QE vendor'));
  if (vendor !== INTEL_QE_VENDOR) throw new Error(`QE vendor ${vendor}, not Intel`);
  reader.take(HEADER_LENGTH - reader.offset, 'user data');
  return version;
}

function readTypedBody(reader: Reader): TdReport {
  const type = reader.u16('body type');
  const length = BODY_LENGTHS.get(type);
  if (length === undefined) throw new Error(`body type ${type} is not a TD report`);
  const stated = reader.u32('body size');
  if (stated !== length) throw new Error(`a body of type ${type} has ${length} bytes, not ${stated}`);
  return readBody(reader, type);
}

function readBody(reader: Reader, type: number): TdReport {
  const take = (length: number, what: string) => reader.take(length, what);
  const start = reader.offset;
  const teeTcbSvn = take(16, 'TEE_TCB_SVN');
  const mrSeam = take(48, 'MRSEAM');
  const mrSignerSeam = take(48, 'MRSIGNERSEAM');
  const seamAttributes = take(8, 'SEAM attributes');
  const tdAttributes = take(8, 'TD attributes');
  take(8, 'XFAM');
  const base = {
    teeTcbSvn,
    mrSeam,
    mrSignerSeam,
    seamAttributes,
    tdAttributes,
    mrTd: take(48, 'MRTD'),
    mrConfigId: take(48, 'MRCONFIGID'),
    mrOwner: take(48, 'MROWNER'),
    mrOwnerConfig: take(48, 'MROWNERCONFIG'),
    rtmr: [take(48, 'RTMR0'), take(48, 'RTMR1'), take(48, 'RTMR2'), take(48, 'RTMR3')],
    reportData: take(64, 'REPORTDATA'),
  } as const;
  if (type === BODY_TD10) return base;
  const td15 = { teeTcbSvn2: take(16, 'TEE_TCB_SVN_2'), mrServiceTd: take(48, 'MRSERVICETD') };
  take((BODY_LENGTHS.get(type) ?? 0) - (reader.offset - start), 'rest of the body');
  return { ...base, td15 };
}

function readAuth(auth: Reader): Omit<TdxQuote, 'signed' | 'report'> {
  const signature = auth.take(64, 'quote signature');
  const attestationKey = auth.take(64, 'attestation key');
  const outer = auth.u16('certification data type');
  if (outer !== CERTIFICATION_QE_REPORT) throw new Error(`certification data of type ${outer}, not 6`);
  const inner = new Reader(auth.take(auth.u32('certification data size'), 'certification data'));
  auth.end('the certification data');

  const qeReport = parseQeReport(inner.take(384, 'QE report'));
  const qeReportSignature = inner.take(64, 'QE report signature');
  const qeAuthData = inner.take(inner.u16('QE authentication data size'), 'QE authentication data');
  const type = inner.u16('PCK certification data type');
  if (type !== CERTIFICATION_PCK_CHAIN) {
    throw new Error(`PCK certification data of type ${type}; only a chain of certificates (5) is supported`);
  }
  const pem = fromUtf8(inner.take(inner.u32('PCK chain size'), 'PCK chain'));
  inner.end('the PCK chain');
  const pckChain = certificatesOfPem(pem);
  return { signature, attestationKey, qeReport, qeReportSignature, qeAuthData, pckChain };
}

function parseQeReport(bytes: Uint8Array): QeReport {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    bytes,
    miscSelect: bytes.slice(16, 20),
    attributes: bytes.slice(48, 64),
    mrSigner: bytes.slice(128, 160),
    isvProdId: view.getUint16(256, true),
    isvSvn: view.getUint16(258, true),
    reportData: bytes.slice(320, 384),
  };
}

/** Whether the first half of an enclave's report data is `digest` and the rest zero. */
export function reportsDigest(report: QeReport, digest: Uint8Array): boolean {
  return (
    equalBytes(report.reportData.subarray(0, 32), digest) &&
    report.reportData.subarray(32).every((byte) => byte === 0)
  );
}
