/** V1 attestations: a MessagePack map with named members. */

import { decode } from '@msgpack/msgpack';
import { VerificationError } from '../errors.js';
import { MAX_EVENTS, type RuntimeEvent, readVersion } from '../events.js';
import { Field } from '../fields.js';
import type { TdxEvidence } from './evidence.js';
import { checkShape } from './msgpack-shape.js';
import { unsupportedPlatform } from './v0.js';

/** @throws Error saying what is malformed, VerificationError for other platforms. */
export function decodeV1(bytes: Uint8Array): TdxEvidence {
  checkShape(bytes);
  const envelope = new Field(decode(bytes), '').onlyMembers('version', 'platform', 'stack');
  const version = envelope.get('version').integer();
  if (version !== 1) throw new Error(`version is ${version}, not 1`);
  const platform = envelope.get('platform').onlyMembers('kind', 'data');
  const kind = platform.get('kind').string();
  if (kind !== 'tdx') throw unsupportedPlatform(kind);
  const tdx = platform.get('data').onlyMembers('quote', 'event_log');
  // As elsewhere, the event log repeats what the runtime events and the quote say.
  checkLength(tdx.get('event_log').list());
  return { quote: tdx.get('quote').byteList(), ...readStack(envelope.get('stack')) };
}

function readStack(stack: Field): Omit<TdxEvidence, 'quote'> {
  const kind = stack.onlyMembers('kind', 'data').get('kind').string();
  const data = stack.get('data');
  const members = ['report_data', 'runtime_events', 'config'];
  const read = () => {
    data.get('config').string();
    return {
      // An array of integers, unlike the payloads of events, which are byte strings.
      reportData: data.get('report_data').byteList(64),
      events: checkLength(data.get('runtime_events').list()).map(readEvent),
    };
  };
  switch (kind) {
    case 'dstack':
      data.onlyMembers(...members);
      return read();
    case 'dstack-pod':
      data.onlyMembers(...members, 'report_data_payload');
      return { ...read(), podPayload: data.get('report_data_payload').string() };
    default:
      throw new Error(`stack ${JSON.stringify(kind)} is not known`);
  }
}

function readEvent(event: Field): RuntimeEvent {
  event.onlyMembers('event', 'payload', 'version');
  return {
    event: event.get('event').string(),
    payload: event.get('payload').bytes(),
    version: readVersion(event),
  };
}

function checkLength(events: Field[]): Field[] {
  if (events.length > MAX_EVENTS) {
    throw new VerificationError(
      'event_log',
      `the event log has ${events.length} entries; the limit is ${MAX_EVENTS}`,
    );
  }
  return events;
}
