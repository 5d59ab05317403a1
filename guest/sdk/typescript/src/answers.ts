/** The agent's answers, checked member by member. Ids and hashes are lower-case hexadecimal. */

import { toHex } from './bytes.js';
import { AnswerError, reasonOf } from './errors.js';
import type { EventLogEntry } from './events.js';
import { parseEventLog, readEvent } from './events.js';
import { Field } from './fields.js';
import { DerivedKey, type KeyAlgorithm, TlsKey } from './secrets.js';

/** Answer of GetQuote. */
export interface QuoteAnswer {
  /** TDX quote; empty on other platforms. */
  readonly quote: Uint8Array;
  /** JSON text, see {@link QuoteAnswer.events}. */
  readonly eventLog: string;
  /** The 64 bytes that were signed. */
  readonly reportData: Uint8Array;
  /** The VM's description of itself, JSON text. */
  readonly vmConfig: string;
  /** Versioned attestation; empty on TDX. */
  readonly attestation: Uint8Array;
  /** The decoded event log. */
  events(): EventLogEntry[];
}

/** Measurements as the guest states them; null off TDX. Nothing here is verified. */
export interface TcbInfo {
  readonly mrtd: string | null;
  readonly rtmr0: string | null;
  readonly rtmr1: string | null;
  readonly rtmr2: string | null;
  readonly rtmr3: string | null;
  readonly mrAggregated: string;
  readonly osImageHash: string;
  readonly composeHash: string;
  readonly deviceId: string;
  readonly eventLog: readonly EventLogEntry[];
  /** The raw text of app-compose.json. */
  readonly appCompose: string;
}

/** Answer of Info. */
export interface AppInfo {
  readonly appId: string;
  readonly instanceId: string;
  readonly appName: string;
  /** PEM chain. */
  readonly appCert: string;
  readonly deviceId: string;
  readonly mrAggregated: string;
  readonly osImageHash: string;
  readonly composeHash: string;
  /** JSON text `{"name", "id"}`. */
  readonly keyProviderInfo: string;
  readonly vmConfig: string;
  readonly cloudVendor: string;
  readonly cloudProduct: string;
  /** Null where the app keeps it to itself. */
  readonly tcbInfo: TcbInfo | null;
}

/** Answer of Sign. */
export interface SignAnswer {
  readonly signature: Uint8Array;
  /** The signature again, then the two of the key that made it. */
  readonly signatureChain: readonly Uint8Array[];
  readonly publicKey: Uint8Array;
}

/** Answer of Version. */
export interface AgentVersion {
  readonly version: string;
  readonly rev: string;
}

/** Answer of GpuInfo. */
export interface GpuInfo {
  /** Evidence of the GPUs as the attester printed it; empty where there are none. */
  readonly attestation: string;
}

/** Runs `read` on an answer; whatever is wrong with it is named with the method. */
export function readAnswer<T>(method: string, answer: unknown, read: (answer: Field) => T): T {
  try {
    return read(new Field(answer, ''));
  } catch (error) {
    throw new AnswerError(`${method}: the answer's ${reasonOf(error).trimStart()}`, { cause: error });
  }
}

export function readDerivedKey(
  request: { path: string; purpose: string; algorithm: KeyAlgorithm },
  answer: Field,
): DerivedKey {
  const chain = answer.get('signature_chain').list();
  return new DerivedKey(
    request,
    answer.get('key').hex(32),
    chain.map((signature) => signature.hex()),
  );
}

export function readTlsKey(answer: Field): TlsKey {
  const chain = answer.get('certificate_chain').list();
  return new TlsKey(
    answer.get('key').string(),
    chain.map((certificate) => certificate.string()),
  );
}

export function readQuote(answer: Field): QuoteAnswer {
  const eventLog = answer.get('event_log').string();
  return {
    quote: answer.get('quote').hex(),
    eventLog,
    reportData: answer.get('report_data').hex(64),
    vmConfig: answer.get('vm_config').string(),
    attestation: answer.find('attestation')?.hex() ?? new Uint8Array(),
    events: () => (eventLog === '' ? [] : parseEventLog(eventLog)),
  };
}

export function readInfo(answer: Field): AppInfo {
  const tcbInfo = answer.get('tcb_info').string();
  const hex = (name: string) => toHex(answer.get(name).hex());
  // Agents of dstack before 0.5.7 leave these out.
  const hexOr = (name: string) => toHex(answer.find(name)?.hex() ?? new Uint8Array());
  const textOr = (name: string) => answer.find(name)?.string() ?? '';
  return {
    appId: hex('app_id'),
    instanceId: hex('instance_id'),
    appName: answer.get('app_name').string(),
    appCert: answer.get('app_cert').string(),
    deviceId: hex('device_id'),
    mrAggregated: hexOr('mr_aggregated'),
    osImageHash: hexOr('os_image_hash'),
    composeHash: hex('compose_hash'),
    keyProviderInfo: answer.get('key_provider_info').string(),
    vmConfig: textOr('vm_config'),
    cloudVendor: textOr('cloud_vendor'),
    cloudProduct: textOr('cloud_product'),
    tcbInfo: tcbInfo === '' ? null : readTcbInfo(tcbInfo),
  };
}

function readTcbInfo(text: string): TcbInfo {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error('tcb_info is not JSON text');
  }
  const info = new Field(value, 'tcb_info');
  const register = (name: string) => {
    const field = info.get(name);
    return field.value === null ? null : toHex(field.hex(48));
  };
  return {
    mrtd: register('mrtd'),
    rtmr0: register('rtmr0'),
    rtmr1: register('rtmr1'),
    rtmr2: register('rtmr2'),
    rtmr3: register('rtmr3'),
    mrAggregated: info.find('mr_aggregated')?.string() ?? '',
    osImageHash: info.find('os_image_hash')?.string() ?? '',
    composeHash: info.get('compose_hash').string(),
    deviceId: info.get('device_id').string(),
    eventLog: info.get('event_log').list().map(readEvent),
    appCompose: info.get('app_compose').string(),
  };
}

export function readSignature(answer: Field): SignAnswer {
  const chain = answer.get('signature_chain').list();
  return {
    signature: answer.get('signature').hex(),
    signatureChain: chain.map((signature) => signature.hex()),
    publicKey: answer.get('public_key').hex(),
  };
}
