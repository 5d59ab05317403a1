/** How current a platform is, by Intel's algorithm for TDX. */

import { equalBytes, isZero, toHex } from '../bytes.js';
import type {
  LevelStatus,
  QeIdentityDocument,
  SvnLevel,
  TcbInfoDocument,
  TdxModule,
  TdxModuleIdentity,
} from './collateral-documents.js';
import type { PckPlatform } from './pck.js';
import type { QeReport, TdReport } from './quote.js';

/** Verdict on a platform. `Revoked` never leaves this package: it is always refused. */
export type TcbStatus =
  | Exclude<LevelStatus, 'Revoked'>
  /** TDX 1.5: the module was updated beneath a TD that was launched on an older one. */
  | 'TDRelaunchAdvised'
  | 'TDRelaunchAdvisedConfigurationNeeded';

/** A status and the advisories behind it. */
export interface TcbVerdict {
  readonly status: TcbStatus | 'Revoked';
  readonly advisoryIds: readonly string[];
}

interface Verdict {
  readonly status: LevelStatus;
  readonly advisoryIds: readonly string[];
}

/**
 * The verdict on platform, TDX module and quoting enclave together.
 *
 * @throws Error when a component is below every level, or not the one the collateral describes.
 */
export function judgeTcb(
  info: TcbInfoDocument,
  qe: Verdict,
  platform: PckPlatform,
  report: TdReport,
): TcbVerdict {
  const launch = judgePlatform(info, platform, report.teeTcbSvn);
  checkModule(info, report);
  const status = withComponent(launch.status, qe.status);
  const advisoryIds = union(launch.advisoryIds, qe.advisoryIds);
  if (report.td15 === undefined) return { status, advisoryIds };
  // The module may have been updated since the launch; the level of today must be known as well.
  const current = withComponent(judgePlatform(info, platform, report.td15.teeTcbSvn2).status, qe.status);
  if (current === 'Revoked') return { status: 'Revoked', advisoryIds };
  return { status: afterUpdate(status, current), advisoryIds };
}

function judgePlatform(info: TcbInfoDocument, platform: PckPlatform, teeTcbSvn: Uint8Array): Verdict {
  const identity = moduleIdentity(info, teeTcbSvn);
  // A module with an identity of its own is judged by it, and its two components not here.
  const judgedFrom = identity === undefined ? 0 : 2;
  const level = info.levels.find(
    ({ sgxComponents, tdxComponents, pceSvn }) =>
      platform.pceSvn >= pceSvn &&
      reaches(platform.cpuSvn, sgxComponents, 0) &&
      reaches(teeTcbSvn, tdxComponents, judgedFrom),
  );
  if (level === undefined) throw new Error('the platform is below every level of the TCB info');
  if (identity === undefined) return level;
  const module = firstReached(identity.levels, teeTcbSvn[0] ?? 0, `TDX module ${identity.id}`);
  return {
    status: withComponent(level.status, module.status),
    advisoryIds: union(level.advisoryIds, module.advisoryIds),
  };
}

/** The identity for the module's version; version 0 has none. */
function moduleIdentity(info: TcbInfoDocument, teeTcbSvn: Uint8Array): TdxModuleIdentity | undefined {
  const version = teeTcbSvn[1] ?? 0;
  if (version === 0) return undefined;
  const id = `TDX_${toHex(Uint8Array.of(version))}`;
  const identity = info.moduleIdentities.find((each) => each.id.toLowerCase() === id.toLowerCase());
  if (identity === undefined) throw new Error(`the TCB info does not describe TDX module ${id}`);
  return identity;
}

function checkModule(info: TcbInfoDocument, report: TdReport): void {
  const expected: TdxModule = moduleIdentity(info, report.teeTcbSvn) ?? info.module;
  if (!equalBytes(report.mrSignerSeam, expected.mrSigner)) {
    throw new Error('the TDX module is not signed by the signer that the TCB info names');
  }
  const masked = and(report.seamAttributes, expected.attributesMask);
  if (!equalBytes(masked, and(expected.attributes, expected.attributesMask))) {
    throw new Error('the TDX module has other attributes than the TCB info demands');
  }
  if (!equalBytes(masked, report.seamAttributes)) {
    throw new Error('the TDX module has attributes that the TCB info does not know');
  }
}

/**
 * Checks a quoting enclave's report against its identity and says how current it is.
 *
 * @throws Error when it is another enclave, in debug mode, or below every level.
 */
export function judgeQe(identity: QeIdentityDocument, report: QeReport): SvnLevel {
  if (!equalBytes(report.mrSigner, identity.mrSigner))
    throw new Error('the quoting enclave has another signer');
  if (report.isvProdId !== identity.isvProdId) throw new Error('the quoting enclave is another product');
  const same = (actual: Uint8Array, expected: Uint8Array, mask: Uint8Array) =>
    equalBytes(and(actual, mask), and(expected, mask));
  if (!same(report.miscSelect, identity.miscSelect, identity.miscSelectMask)) {
    throw new Error('the quoting enclave has another MISCSELECT');
  }
  if (!same(report.attributes, identity.attributes, identity.attributesMask)) {
    throw new Error('the quoting enclave has other attributes');
  }
  if (((report.attributes[0] ?? 0) & SGX_DEBUG) !== 0)
    throw new Error('the quoting enclave is in debug mode');
  return firstReached(identity.levels, report.isvSvn, 'the quoting enclave');
}

/** Bit 1 of an enclave's attributes. */
const SGX_DEBUG = 0b10;

const TUD_DEBUG = 0b0000_0001;
const TUD_PROFILING = 0b0111_0000;
const ICSSD = 16n;
const LASS = 27n;
const SEPT_VE_DISABLE = 28n;
const MIGRATABLE = 29n;
const PROTECTION_KEYS = 30n;
const KEY_LOCKER = 31n;
const PROVISIONING_AGENT = 62n;
const PERFMON = 63n;
/** Attribute bits that a TD may have; what others mean is not known. */
const ALLOWED_ATTRIBUTES = [
  ICSSD,
  LASS,
  SEPT_VE_DISABLE,
  PROTECTION_KEYS,
  KEY_LOCKER,
  PROVISIONING_AGENT,
  PERFMON,
];

/** Whether the host may read the TD's memory. */
export function isDebug(report: TdReport): boolean {
  return ((report.tdAttributes[0] ?? 0) & TUD_DEBUG) !== 0;
}

/**
 * Checks what is never policy: attributes, signer of the module, service TDs.
 *
 * @throws Error saying what a genuine production TD does not have.
 */
export function checkTd(report: TdReport): void {
  if (((report.tdAttributes[0] ?? 0) & TUD_PROFILING) !== 0)
    throw new Error('the TD can be profiled by its host');
  const attributes = new DataView(new Uint8Array(report.tdAttributes).buffer).getBigUint64(0, true);
  if ((attributes >> MIGRATABLE) & 1n) throw new Error('the TD can be migrated');
  const allowed = ALLOWED_ATTRIBUTES.reduce((mask, bit) => mask | (1n << bit), 0n);
  if ((attributes & ~allowed) !== 0n) throw new Error('the TD has attributes that are not allowed');
  if (((attributes >> SEPT_VE_DISABLE) & 1n) === 0n) throw new Error('the TD does not have SEPT_VE_DISABLE');
  if (!isZero(report.mrSignerSeam))
    throw new Error("MRSIGNERSEAM is not zero: the TDX module is not Intel's");
  if (report.td15 !== undefined && !isZero(report.td15.mrServiceTd)) {
    throw new Error('MRSERVICETD is not zero: a service TD may touch the TD');
  }
}

function reaches(actual: Uint8Array, required: readonly number[], from: number): boolean {
  return required.every((svn, index) => index < from || (actual[index] ?? 0) >= svn);
}

function firstReached(levels: readonly SvnLevel[], isvSvn: number, what: string): SvnLevel {
  const highestFirst = [...levels].sort((a, b) => b.isvSvn - a.isvSvn);
  const level = highestFirst.find((each) => isvSvn >= each.isvSvn);
  if (level === undefined) throw new Error(`${what} with SVN ${isvSvn} is below every level`);
  return level;
}

/** A platform's status with that of one of its components: only what is out of date or revoked counts. */
function withComponent(platform: LevelStatus, component: LevelStatus): LevelStatus {
  if (component === 'Revoked' || platform === 'Revoked') return 'Revoked';
  if (component !== 'OutOfDate' && component !== 'OutOfDateConfigurationNeeded') return platform;
  switch (platform) {
    case 'UpToDate':
    case 'SWHardeningNeeded':
      return component;
    case 'ConfigurationNeeded':
    case 'ConfigurationAndSWHardeningNeeded':
      return 'OutOfDateConfigurationNeeded';
    default:
      return platform;
  }
}

function afterUpdate(launch: LevelStatus, current: LevelStatus): TcbStatus | 'Revoked' {
  const outdated = (status: LevelStatus) =>
    status === 'OutOfDate' || status === 'OutOfDateConfigurationNeeded';
  if (!outdated(launch) || outdated(current)) return launch;
  const configure = launch === 'OutOfDateConfigurationNeeded' || current.startsWith('Configuration');
  return configure ? 'TDRelaunchAdvisedConfigurationNeeded' : 'TDRelaunchAdvised';
}

function and(a: Uint8Array, b: Uint8Array): Uint8Array {
  return a.map((byte, index) => byte & (b[index] ?? 0));
}

function union(a: readonly string[], b: readonly string[]): string[] {
  return [...new Set([...a, ...b])];
}
