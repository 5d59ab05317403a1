/** V0 attestations: SCALE. */

import { fromUtf8 } from '../bytes.js';
import { VerificationError } from '../errors.js';
import { MAX_EVENTS, type RuntimeEvent } from '../events.js';
import { Reader } from '../reader.js';
import type { TdxEvidence } from './evidence.js';

/** Platforms in the order of their SCALE variants. */
const PLATFORMS = ['tdx', 'gcp-tdx', 'nitro-enclave', 'sev-snp', 'aws-nitro-tpm'] as const;

/** @throws Error saying what is malformed, VerificationError for other platforms. */
export function decodeV0(bytes: Uint8Array): TdxEvidence {
  const reader = new Reader(bytes);
  reader.u8('version');
  const variant = reader.u8('platform');
  const platform = PLATFORMS[variant];
  if (platform === undefined) throw new Error(`platform ${variant} is not known`);
  if (platform !== 'tdx') throw unsupportedPlatform(platform);
  const quote = bytesOf(reader, 'quote');
  // The event log repeats what the runtime events and the quote say.
  listOf(reader, 'event log', skipLogEntry);
  const events = listOf(reader, 'runtime events', readEvent);
  const reportData = reader.take(64, 'report data');
  textOf(reader, 'config');
  reader.end('the attestation');
  return { quote, reportData, events };
}

/** Evidence that this package cannot verify. */
export function unsupportedPlatform(platform: string): VerificationError {
  return new VerificationError(
    'unsupported_platform',
    `evidence of platform ${platform} is not supported; this package verifies tdx`,
  );
}

function skipLogEntry(reader: Reader): void {
  reader.u32('register');
  reader.u32('event type');
  bytesOf(reader, 'digest');
  textOf(reader, 'event name');
  bytesOf(reader, 'event payload');
}

function readEvent(reader: Reader): RuntimeEvent {
  return { event: textOf(reader, 'event name'), payload: bytesOf(reader, 'event payload'), version: 1 };
}

function listOf<T>(reader: Reader, what: string, read: (reader: Reader) => T): T[] {
  const length = compactOf(reader, what);
  if (length > MAX_EVENTS) {
    throw new VerificationError('event_log', `${what} has ${length} entries; the limit is ${MAX_EVENTS}`);
  }
  return Array.from({ length }, () => read(reader));
}

function bytesOf(reader: Reader, what: string): Uint8Array {
  return reader.take(compactOf(reader, what), what);
}

function textOf(reader: Reader, what: string): string {
  return fromUtf8(bytesOf(reader, what));
}

/** A compact integer of SCALE, in its shortest form. */
function compactOf(reader: Reader, what: string): number {
  const length = `length of ${what}`;
  const first = reader.u8(length);
  switch (first & 0b11) {
    case 0:
      return first >>> 2;
    case 1:
      return atLeast(0x40, (first >>> 2) | (reader.u8(length) << 6), length);
    case 2: {
      const rest = reader.take(3, length);
      const value =
        (first >>> 2) + (rest[0] ?? 0) * 2 ** 6 + (rest[1] ?? 0) * 2 ** 14 + (rest[2] ?? 0) * 2 ** 22;
      return atLeast(0x4000, value, length);
    }
    default:
      throw new Error(`${length} exceeds what evidence can hold`);
  }
}

function atLeast(least: number, value: number, what: string): number {
  if (value < least) throw new Error(`${what} is not in its shortest form`);
  return value;
}
