/** Evidence on the wire: versioned attestations, and answers of GetQuote. */

import type { QuoteAnswer } from '../answers.js';
import { toBytes } from '../bytes.js';
import { refuseAs, VerificationError } from '../errors.js';
import { parseEventLog, type RuntimeEvent, runtimeEvents } from '../events.js';
import { Field } from '../fields.js';
import { decodeV0 } from './v0.js';
import { decodeV1 } from './v1.js';

/** Longest encoding that is read, bytes. */
const MAX_LENGTH = 10 * 1024 * 1024;

/** Evidence of a TDX VM, parsed but not yet believed. */
export interface TdxEvidence {
  readonly quote: Uint8Array;
  /** What the guest was challenged with; must equal what the quote says. Undefined where only the quote says it. */
  readonly reportData: Uint8Array | undefined;
  readonly events: readonly RuntimeEvent[];
  /** Of a pod: the report data is made from it. */
  readonly podPayload?: string;
}

/** The JSON form of GetQuote's answer, as people save it to files. Hexadecimal for bytes. */
export interface QuoteJson {
  readonly quote?: string;
  readonly event_log?: string;
  readonly report_data?: string;
  readonly vm_config?: string;
  readonly attestation?: string;
}

/** Evidence in any form: attestation bytes, a {@link QuoteAnswer}, or the JSON of GetQuote. */
export type EvidenceInput = Uint8Array | QuoteAnswer | QuoteJson;

/**
 * Parses evidence in any form.
 *
 * @throws VerificationError `encoding`, or `unsupported_platform` for anything but TDX.
 */
export function parseEvidence(input: EvidenceInput): TdxEvidence {
  if (input instanceof Uint8Array) return parseAttestation(input);
  if ('quote' in input && input.quote instanceof Uint8Array) return ofAnswer(input as QuoteAnswer);
  return ofJson(input as QuoteJson);
}

/** Parses versioned attestation bytes. Bytes that follow are an error. */
export function parseAttestation(bytes: Uint8Array): TdxEvidence {
  if (bytes.length === 0) throw new VerificationError('encoding', 'the evidence is empty');
  if (bytes.length > MAX_LENGTH) {
    throw new VerificationError(
      'encoding',
      `the evidence is ${bytes.length} bytes; the limit is ${MAX_LENGTH}`,
    );
  }
  const first = bytes[0] ?? 0;
  if (first === 0) return refuseAs('encoding', 'the evidence (V0)', () => decodeV0(bytes));
  if ((first & 0xf0) === 0x80 || first === 0xde || first === 0xdf) {
    return refuseAs('encoding', 'the evidence (V1)', () => decodeV1(bytes));
  }
  throw new VerificationError(
    'encoding',
    `the evidence starts with byte 0x${first.toString(16).padStart(2, '0')}: neither a V0 nor a V1 attestation`,
  );
}

/** Evidence of a quote and the JSON text of its event log, as older certificates carry them. */
export function quoteWithLog(quote: Uint8Array, eventLog: string): TdxEvidence {
  return { quote, reportData: undefined, events: eventsOf(eventLog) };
}

function ofAnswer(answer: QuoteAnswer): TdxEvidence {
  if (answer.attestation.length > 0) return parseAttestation(answer.attestation);
  if (answer.quote.length === 0)
    throw new VerificationError('encoding', 'there is neither quote nor attestation');
  return { quote: answer.quote, reportData: answer.reportData, events: eventsOf(answer.eventLog) };
}

function ofJson(json: QuoteJson): TdxEvidence {
  const { quote, reportData, eventLog, attestation } = refuseAs('encoding', "GetQuote's answer", () => {
    const answer = new Field(json, '');
    const hexOf = (name: string) => answer.find(name)?.hex() ?? new Uint8Array();
    return {
      quote: hexOf('quote'),
      attestation: hexOf('attestation'),
      reportData: hexOf('report_data'),
      eventLog: answer.find('event_log')?.string() ?? '',
    };
  });
  if (attestation.length > 0) return parseAttestation(attestation);
  if (quote.length === 0) throw new VerificationError('encoding', 'there is neither quote nor attestation');
  return {
    quote,
    reportData: reportData.length === 0 ? undefined : paddedReportData(reportData),
    events: eventsOf(eventLog),
  };
}

function eventsOf(log: string): RuntimeEvent[] {
  return log === '' ? [] : runtimeEvents(parseEventLog(log));
}

/** 64 bytes of report data; shorter is padded with zeros on the right, as the agent does. */
export function paddedReportData(reportData: Uint8Array | string): Uint8Array {
  const bytes = toBytes(reportData, 'report data');
  if (bytes.length > 64) {
    throw new VerificationError('encoding', `report data is ${bytes.length} bytes; the limit is 64`);
  }
  const padded = new Uint8Array(64);
  padded.set(bytes);
  return padded;
}
