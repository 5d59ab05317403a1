/** TCB info and QE identity: the JSON documents that Intel signs. */

import { Field } from '../fields.js';

/** Every status a level can have. */
export const LEVEL_STATUSES = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'Revoked',
] as const;

/** Status of one level. */
export type LevelStatus = (typeof LEVEL_STATUSES)[number];

interface Level {
  readonly status: LevelStatus;
  readonly advisoryIds: readonly string[];
}

/** A level of the platform. */
export interface TcbLevel extends Level {
  readonly sgxComponents: readonly number[];
  readonly tdxComponents: readonly number[];
  readonly pceSvn: number;
}

/** A level of a TDX module or a quoting enclave. */
export interface SvnLevel extends Level {
  readonly isvSvn: number;
}

/** Who signs TDX modules, and which attributes they have. */
export interface TdxModule {
  readonly mrSigner: Uint8Array;
  readonly attributes: Uint8Array;
  readonly attributesMask: Uint8Array;
}

export interface TdxModuleIdentity extends TdxModule {
  /** `TDX_` and the module's version, two hexadecimal digits. */
  readonly id: string;
  readonly levels: readonly SvnLevel[];
}

interface Dated {
  readonly id: string;
  readonly version: number;
  readonly issueDate: Date;
  readonly nextUpdate: Date;
}

export interface TcbInfoDocument extends Dated {
  readonly fmspc: Uint8Array;
  readonly pceId: Uint8Array;
  readonly module: TdxModule;
  readonly moduleIdentities: readonly TdxModuleIdentity[];
  /** The most demanding first. */
  readonly levels: readonly TcbLevel[];
}

export interface QeIdentityDocument extends Dated {
  readonly miscSelect: Uint8Array;
  readonly miscSelectMask: Uint8Array;
  readonly attributes: Uint8Array;
  readonly attributesMask: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly isvProdId: number;
  readonly levels: readonly SvnLevel[];
}

/** Parses the member `tcbInfo`, for TDX. */
export function parseTcbInfo(text: string): TcbInfoDocument {
  const info = new Field(JSON.parse(text), 'tcbInfo');
  const dated = readDated(info);
  if (dated.id !== 'TDX' || dated.version < 3) {
    throw new Error(`tcbInfo is for ${dated.id} version ${dated.version}, not for TDX version 3`);
  }
  const identities = info.find('tdxModuleIdentities')?.list() ?? [];
  return {
    ...dated,
    fmspc: info.get('fmspc').hex(6),
    pceId: info.get('pceId').hex(2),
    module: readModule(info.get('tdxModule')),
    moduleIdentities: identities.map((identity) => ({
      ...readModule(identity),
      id: identity.get('id').string(),
      levels: identity.get('tcbLevels').list().map(readSvnLevel),
    })),
    levels: info.get('tcbLevels').list().map(readTcbLevel).sort(mostDemandingFirst),
  };
}

/** Parses the member `enclaveIdentity`, for the TD quoting enclave. */
export function parseQeIdentity(text: string): QeIdentityDocument {
  const identity = new Field(JSON.parse(text), 'enclaveIdentity');
  const dated = readDated(identity);
  if (dated.id !== 'TD_QE' || (dated.version !== 2 && dated.version !== 3)) {
    throw new Error(
      `enclaveIdentity is for ${dated.id} version ${dated.version}, not for TD_QE version 2 or 3`,
    );
  }
  return {
    ...dated,
    miscSelect: identity.get('miscselect').hex(4),
    miscSelectMask: identity.get('miscselectMask').hex(4),
    attributes: identity.get('attributes').hex(16),
    attributesMask: identity.get('attributesMask').hex(16),
    mrSigner: identity.get('mrsigner').hex(32),
    isvProdId: identity.get('isvprodid').integer(0xffff),
    levels: identity.get('tcbLevels').list().map(readSvnLevel),
  };
}

function readDated(document: Field): Dated {
  return {
    id: document.get('id').string(),
    version: document.get('version').integer(0xff),
    issueDate: readDate(document.get('issueDate')),
    nextUpdate: readDate(document.get('nextUpdate')),
  };
}

function readDate(field: Field): Date {
  const text = field.string();
  const date = new Date(text);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(text) || Number.isNaN(date.getTime())) {
    throw new Error(`${field.path} is ${JSON.stringify(text)}, not a time such as 2026-01-31T12:00:00Z`);
  }
  return date;
}

function readModule(module: Field): TdxModule {
  return {
    mrSigner: module.get('mrsigner').hex(48),
    attributes: module.get('attributes').hex(8),
    attributesMask: module.get('attributesMask').hex(8),
  };
}

function readLevel(level: Field): Level {
  const status = level.get('tcbStatus').string();
  const known = LEVEL_STATUSES.find((name) => name === status);
  if (known === undefined) throw new Error(`${level.path}.tcbStatus ${JSON.stringify(status)} is not known`);
  const advisories = level.find('advisoryIDs')?.list() ?? [];
  return { status: known, advisoryIds: advisories.map((advisory) => advisory.string()) };
}

function readSvnLevel(level: Field): SvnLevel {
  return { ...readLevel(level), isvSvn: level.get('tcb').get('isvsvn').integer(0xffff) };
}

function readTcbLevel(level: Field): TcbLevel {
  const tcb = level.get('tcb');
  const components = (name: string) => {
    const list = tcb.get(name).list();
    if (list.length !== 16) throw new Error(`${tcb.path}.${name} has ${list.length} components, not 16`);
    return list.map((component) => component.get('svn').integer(0xff));
  };
  return {
    ...readLevel(level),
    sgxComponents: components('sgxtcbcomponents'),
    tdxComponents: components('tdxtcbcomponents'),
    pceSvn: tcb.get('pcesvn').integer(0xffff),
  };
}

/** Intel's library orders levels itself, whatever their order in the document. */
function mostDemandingFirst(a: TcbLevel, b: TcbLevel): number {
  return (
    compareLists(b.sgxComponents, a.sgxComponents) ||
    b.pceSvn - a.pceSvn ||
    compareLists(b.tdxComponents, a.tdxComponents)
  );
}

function compareLists(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    const difference = value - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
