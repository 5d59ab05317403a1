/** What verification established, and what it is compared with. */

import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes } from '@noble/hashes/utils.js';
import { type BytesLike, equalBytes, fromUtf8, isZero, normalHex, toHex } from './bytes.js';
import { InputError, reasonOf, VerificationError } from './errors.js';
import { eventDigest, extendAll, MAX_EVENTS, type RuntimeEvent, systemField } from './events.js';
import { paddedReportData, type TdxEvidence } from './evidence/evidence.js';
import { Field } from './fields.js';
import { reportDataForPayload, reportDataForTlsKey } from './report-data.js';
import type { TcbStatus } from './tdx/tcb.js';
import type { VerifiedTd } from './tdx/verify.js';

/** Registers that stand for an OS image and a VM's shape; those left out are not compared. */
export interface Measurements {
  readonly mrtd?: BytesLike;
  readonly rtmr0?: BytesLike;
  readonly rtmr1?: BytesLike;
  readonly rtmr2?: BytesLike;
}

/** What evidence must say, apart from whom it was made for. */
export interface Expectations {
  /** 20 bytes. */
  readonly appId?: BytesLike;
  /** 32 bytes; one of these, when a list. */
  readonly composeHash?: BytesLike | readonly BytesLike[];
  /** Machines that are accepted. */
  readonly deviceIds?: readonly BytesLike[];
  /** OS images that are accepted; without them nothing says which OS ran. */
  readonly measurements?: readonly Measurements[];
  /** DER SubjectPublicKeyInfo of the KMS root CA that must have given the keys. */
  readonly keyProviderId?: BytesLike;
  /** Default `['UpToDate']`. */
  readonly tcbStatuses?: readonly TcbStatus[];
}

/** The same, and whom the evidence must have been made for: one of the two is needed. */
export interface EvidenceExpectations extends Expectations {
  /** Report data, at most 64 bytes; shorter is padded with zeros on the right. */
  readonly reportData?: BytesLike;
  /** DER SubjectPublicKeyInfo of a TLS key. */
  readonly tlsKey?: Uint8Array;
}

/** Who gave the VM its keys. */
export interface KeyProvider {
  /** `kms`, `local-sgx`, `tpm` or `none`. */
  readonly name: string;
  /** Of a KMS: hexadecimal SubjectPublicKeyInfo of its root CA. */
  readonly id: string;
}

/**
 * What verified evidence says. Ids, hashes and registers are lower-case hexadecimal.
 *
 * Which OS image ran is only established when measurements were expected: the registers say it, the
 * `os-image-hash` event does not prove it.
 */
export interface Appraisal {
  readonly mrtd: string;
  readonly rtmr0: string;
  readonly rtmr1: string;
  readonly rtmr2: string;
  readonly rtmr3: string;
  readonly reportData: string;
  readonly tcbStatus: TcbStatus;
  readonly advisoryIds: readonly string[];
  readonly appId: string;
  readonly composeHash: string;
  /** Empty for apps without instances. */
  readonly instanceId: string;
  /** SHA-256 of the machine's PPID. */
  readonly deviceId: string;
  readonly mrAggregated: string;
  readonly mrSystem: string;
  /** Null where the guest measured none. */
  readonly keyProvider: KeyProvider | null;
  /** Runtime events; they replay to RTMR3. Those after `system-ready` are the app's own. */
  readonly events: readonly RuntimeEvent[];
  /** A TD in debug mode is never accepted. */
  readonly debug: false;
}

/**
 * Binds verified hardware facts to the guest's event log and to what is expected.
 *
 * @throws VerificationError naming the rule that failed.
 */
export function appraise(td: VerifiedTd, evidence: TdxEvidence, expect: EvidenceExpectations): Appraisal {
  const accepted = expect.tcbStatuses ?? ['UpToDate'];
  if (!accepted.includes(td.tcbStatus)) {
    throw new VerificationError(
      'tcb_status',
      `the platform is ${td.tcbStatus}, accepted are ${accepted.join(', ') || 'none'}` +
        (td.advisoryIds.length > 0 ? ` (${td.advisoryIds.join(', ')})` : ''),
    );
  }
  checkReportData(td.report.reportData, evidence, expect);
  checkEvents(evidence.events, td.report.rtmr[3]);
  const appraisal = read(td, evidence.events);
  checkExpectations(appraisal, expect);
  return appraisal;
}

function checkReportData(actual: Uint8Array, evidence: TdxEvidence, expect: EvidenceExpectations): void {
  const wanted = expectedReportData(expect);
  if (evidence.reportData !== undefined) wanted.push(evidence.reportData);
  if (evidence.podPayload !== undefined) wanted.push(reportDataForPayload(evidence.podPayload));
  for (const expected of wanted) {
    if (!equalBytes(expected, actual)) {
      throw new VerificationError(
        'report_data_mismatch',
        `report data is ${toHex(actual)}, expected ${toHex(expected)}: made for another key or challenge`,
      );
    }
  }
}

/** What the report data must be; at least one value. */
export function expectedReportData(expect: EvidenceExpectations): Uint8Array[] {
  const wanted: Uint8Array[] = [];
  if (expect.reportData !== undefined) wanted.push(paddedReportData(expect.reportData));
  if (expect.tlsKey !== undefined) wanted.push(reportDataForTlsKey(expect.tlsKey));
  if (wanted.length === 0) {
    throw new InputError('expect reportData or tlsKey: evidence that was made for anybody proves nothing');
  }
  return wanted;
}

function checkEvents(events: readonly RuntimeEvent[], rtmr3: Uint8Array): void {
  if (events.length > MAX_EVENTS) {
    throw new VerificationError(
      'event_log',
      `the event log has ${events.length} events; the limit is ${MAX_EVENTS}`,
    );
  }
  // Name and payload are joined by a colon before hashing, so a name with one could hide an event.
  const ambiguous = events.find(({ event }) => event.includes(':'));
  if (ambiguous !== undefined) {
    throw new VerificationError(
      'event_log',
      `event name ${JSON.stringify(ambiguous.event)} contains a colon`,
    );
  }
  const replayed = extendAll(events.map(eventDigest));
  if (!equalBytes(replayed, rtmr3)) {
    throw new VerificationError(
      'event_log',
      `the event log replays to ${toHex(replayed)}, but RTMR3 is ${toHex(rtmr3)}`,
    );
  }
}

function read(td: VerifiedTd, events: readonly RuntimeEvent[]): Appraisal {
  const { report } = td;
  const keyProvider = systemField(events, 'key-provider');
  const boot = [report.mrTd, report.rtmr[0], report.rtmr[1], report.rtmr[2]];
  const hostSet = [report.mrConfigId, report.mrOwner, report.mrOwnerConfig];
  const hashed = (...parts: Uint8Array[]) => toHex(sha256(concatBytes(...parts)));
  return {
    mrtd: toHex(report.mrTd),
    rtmr0: toHex(report.rtmr[0]),
    rtmr1: toHex(report.rtmr[1]),
    rtmr2: toHex(report.rtmr[2]),
    rtmr3: toHex(report.rtmr[3]),
    reportData: toHex(report.reportData),
    tcbStatus: td.tcbStatus,
    advisoryIds: td.advisoryIds,
    appId: identity(events, 'app-id', 20),
    composeHash: identity(events, 'compose-hash', 32),
    instanceId: identity(events, 'instance-id', 20, 0),
    deviceId: hashed(td.ppid),
    mrAggregated: hashed(...boot, report.rtmr[3], ...(hostSet.every(isZero) ? [] : hostSet)),
    mrSystem: hashed(
      ...boot,
      keyProvider === undefined || keyProvider.length === 0 ? new Uint8Array(32) : sha256(keyProvider),
    ),
    keyProvider: keyProvider === undefined ? null : readKeyProvider(keyProvider),
    events,
    debug: false,
  };
}

function identity(events: readonly RuntimeEvent[], name: string, ...lengths: number[]): string {
  const payload = systemField(events, name);
  if (payload === undefined) {
    throw new VerificationError('event_log', `the event log has no ${name} event before system-ready`);
  }
  if (!lengths.includes(payload.length)) {
    throw new VerificationError(
      'event_log',
      `the ${name} event has ${payload.length} bytes, not ${lengths[0]}`,
    );
  }
  return toHex(payload);
}

function readKeyProvider(payload: Uint8Array): KeyProvider {
  try {
    const provider = new Field(JSON.parse(fromUtf8(payload)), 'key-provider');
    return { name: provider.get('name').string(), id: provider.get('id').string() };
  } catch (error) {
    throw new VerificationError('key_provider', `the key-provider event is malformed: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

function checkExpectations(appraisal: Appraisal, expect: Expectations): void {
  if (expect.appId !== undefined) {
    const expected = normalHex(expect.appId, 'appId', 20);
    if (appraisal.appId !== expected) {
      throw new VerificationError('app_id', `the app is ${appraisal.appId}, expected ${expected}`);
    }
  }
  if (expect.composeHash !== undefined) {
    const expected = hexList(expect.composeHash, 'composeHash', 32);
    if (!expected.includes(appraisal.composeHash)) {
      throw new VerificationError(
        'compose_hash',
        `the compose hash is ${appraisal.composeHash}, expected ${expected.join(' or ') || 'none'}`,
      );
    }
  }
  if (expect.deviceIds !== undefined) {
    const expected = hexList(expect.deviceIds, 'deviceIds', 32);
    if (!expected.includes(appraisal.deviceId)) {
      throw new VerificationError(
        'device_id',
        `the machine ${appraisal.deviceId} is not among the accepted ones`,
      );
    }
  }
  if (expect.measurements !== undefined && !expect.measurements.some((each) => measures(appraisal, each))) {
    throw new VerificationError(
      'measurement',
      'MRTD and RTMR0 to RTMR2 are not among the accepted measurements',
    );
  }
  if (expect.keyProviderId !== undefined) checkKeyProvider(appraisal, expect.keyProviderId);
}

/** Checks that a KMS with this root CA gave the keys. */
export function checkKeyProvider(appraisal: Appraisal, rootSpki: BytesLike): void {
  const expected = normalHex(rootSpki, 'keyProviderId');
  const provider = appraisal.keyProvider;
  if (provider === null || provider.name !== 'kms' || provider.id !== expected) {
    const actual = provider === null ? 'nobody' : `${JSON.stringify(provider.name)} ${provider.id}`;
    throw new VerificationError('key_provider', `the keys came from ${actual}, expected "kms" ${expected}`);
  }
}

function measures(appraisal: Appraisal, expected: Measurements): boolean {
  const names = ['mrtd', 'rtmr0', 'rtmr1', 'rtmr2'] as const;
  const stated = names.filter((name) => expected[name] !== undefined);
  if (stated.length === 0) throw new InputError('expected measurements must name at least one register');
  return stated.every((name) => normalHex(expected[name] ?? '', name, 48) === appraisal[name]);
}

function hexList(values: BytesLike | readonly BytesLike[], what: string, length: number): string[] {
  const list = typeof values === 'string' || values instanceof Uint8Array ? [values] : values;
  return list.map((value) => normalHex(value, what, length));
}
