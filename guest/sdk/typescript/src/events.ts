/** Event logs: what was extended into the registers, and its replay. */

import { sha384 } from '@noble/hashes/sha2.js';
import { concatBytes } from '@noble/hashes/utils.js';
import { toHex, utf8 } from './bytes.js';
import { refuseAs, VerificationError } from './errors.js';
import { Field } from './fields.js';

/** Event type of every runtime event. */
export const RUNTIME_EVENT_TYPE = 0x0800_0001;
/** The register of runtime events. */
export const RUNTIME_REGISTER = 3;
/** After this event only the app extends; nothing behind it identifies the VM. */
export const SYSTEM_READY = 'system-ready';
/** Most events a log may have. */
export const MAX_EVENTS = 4096;

const REGISTER_LENGTH = 48;
const MAX_U32 = 0xffff_ffff;

/** A named event that the guest extended into RTMR3. */
export interface RuntimeEvent {
  readonly event: string;
  readonly payload: Uint8Array;
  /** 1: digest over type, name and payload joined by colons. 2: over canonical JSON. */
  readonly version: 1 | 2;
}

/** One entry of the TDX event log. */
export interface EventLogEntry {
  /** Register, 0 to 3. */
  readonly imr: number;
  readonly eventType: number;
  /** 48 bytes; empty where a form of the log leaves it out. */
  readonly digest: Uint8Array;
  readonly event: string;
  readonly eventPayload: Uint8Array;
  readonly version: 1 | 2;
}

/** Parses the JSON text of an event log. */
export function parseEventLog(text: string): EventLogEntry[] {
  return refuseAs('event_log', 'the event log', () => {
    const entries = new Field(JSON.parse(text), 'event log').list();
    if (entries.length > MAX_EVENTS) {
      throw new VerificationError(
        'event_log',
        `the event log has ${entries.length} entries; the limit is ${MAX_EVENTS}`,
      );
    }
    return entries.map(readEvent);
  });
}

/** One entry of the JSON form. */
export function readEvent(entry: Field): EventLogEntry {
  return {
    imr: entry.get('imr').integer(MAX_U32),
    eventType: entry.get('event_type').integer(MAX_U32),
    digest: entry.get('digest').hex(),
    event: entry.get('event').string(),
    eventPayload: entry.get('event_payload').hex(),
    version: readVersion(entry),
  };
}

/** The member `version` of an event: 1, 2, or 1 where it is left out. */
export function readVersion(event: Field): 1 | 2 {
  const version = event.find('version')?.value ?? 1;
  if (version !== 1 && version !== 2) throw new Error(`${event.path}.version is neither 1 nor 2`);
  return version;
}

/** The runtime events of a log, in order. */
export function runtimeEvents(log: readonly EventLogEntry[]): RuntimeEvent[] {
  return log
    .filter((entry) => entry.imr === RUNTIME_REGISTER)
    .map((entry) => ({ event: entry.event, payload: entry.eventPayload, version: entry.version }));
}

/** What RTMR3 is extended with for `event`: 48 bytes. */
export function eventDigest(event: RuntimeEvent): Uint8Array {
  return sha384(event.version === 1 ? preimageV1(event) : preimageV2(event));
}

function preimageV1(event: RuntimeEvent): Uint8Array {
  const type = new Uint8Array(4);
  new DataView(type.buffer).setUint32(0, RUNTIME_EVENT_TYPE, true);
  const colon = utf8(':');
  return concatBytes(type, colon, utf8(event.event), colon, event.payload);
}

function preimageV2(event: RuntimeEvent): Uint8Array {
  // RFC 8785: members in order of their names; JSON.stringify writes strings and integers as it demands.
  return utf8(JSON.stringify({ name: event.event, payload: toHex(event.payload), type: RUNTIME_EVENT_TYPE }));
}

/** A register after extending `digests` in order. */
export function extendAll(digests: Iterable<Uint8Array>): Uint8Array {
  let register: Uint8Array = new Uint8Array(REGISTER_LENGTH);
  for (const digest of digests) register = sha384(concatBytes(register, digest));
  return register;
}

/**
 * The four runtime registers that an event log amounts to.
 *
 * Digests are taken as the log states them; those left out are made from name and payload. This is
 * arithmetic, not verification: compare the result with a verified quote.
 */
export function replayRtmrs(
  eventLog: string | readonly EventLogEntry[],
): [Uint8Array, Uint8Array, Uint8Array, Uint8Array] {
  const log = typeof eventLog === 'string' ? parseEventLog(eventLog) : eventLog;
  const digests: [Uint8Array[], Uint8Array[], Uint8Array[], Uint8Array[]] = [[], [], [], []];
  log.forEach((entry, index) => {
    const register = digests[entry.imr];
    if (register === undefined) {
      throw new VerificationError('event_log', `event log entry ${index} names register ${entry.imr}`);
    }
    register.push(digestOf(entry, index));
  });
  return [extendAll(digests[0]), extendAll(digests[1]), extendAll(digests[2]), extendAll(digests[3])];
}

function digestOf(entry: EventLogEntry, index: number): Uint8Array {
  if (entry.digest.length === REGISTER_LENGTH) return entry.digest;
  if (entry.digest.length === 0 && entry.imr === RUNTIME_REGISTER) {
    return eventDigest({ event: entry.event, payload: entry.eventPayload, version: entry.version });
  }
  throw new VerificationError(
    'event_log',
    `event log entry ${index} has a digest of ${entry.digest.length} bytes, not ${REGISTER_LENGTH}`,
  );
}

/** Payload of the first event called `name` before `system-ready`. */
export function systemField(events: readonly RuntimeEvent[], name: string): Uint8Array | undefined {
  for (const event of events) {
    if (event.event === SYSTEM_READY) return undefined;
    if (event.event === name) return event.payload;
  }
  return undefined;
}
