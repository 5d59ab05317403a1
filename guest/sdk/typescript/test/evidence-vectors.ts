/** The files evidence.json and certificate.json, and how their cases replace what the file says. */

import type { TestContext } from 'node:test';
import type { Measurements } from '../src/appraisal.js';
import { toHex } from '../src/bytes.js';
import type { Appraisal, EvidenceExpectations, QuoteJson } from '../src/index.js';
import { type Collateral, collateralOfJson, Verifier } from '../src/index.js';
import type { TcbStatus } from '../src/tdx/tcb.js';
import { type RecordedAnswers, startPccs } from './pccs.js';

export interface JsonExpectations {
  report_data?: string;
  tcb_statuses?: TcbStatus[];
  app_id?: string;
  compose_hash?: string;
  device_ids?: string[];
  measurements?: Measurements[];
  key_provider_id?: string;
}

/** What verification is done under. */
export interface World {
  time: number;
  root_ca: string | null;
  collateral: Record<string, unknown> | null;
  pccs: RecordedAnswers;
}

/** A case: whatever it names replaces the file's own. */
export type Case = Partial<World> & {
  name: string;
  base?: string;
  bytes?: string;
  json?: QuoteJson;
  chain?: string[];
  kms_ca_spki?: string | null;
  expect?: JsonExpectations;
  appraisal?: Record<string, unknown>;
  code?: string;
  or?: string[];
};

export interface EvidenceVectors extends World {
  attestation_v0: string;
  attestation_v1: string;
  get_quote: QuoteJson;
  expect: JsonExpectations;
  appraisal: Record<string, unknown>;
  good: Case[];
  bad: Case[];
}

export interface CertificateVectors extends World {
  chain: string[];
  kms_ca_spki: string;
  expect: JsonExpectations;
  appraisal: Record<string, unknown>;
  good: Case[];
  bad: Case[];
}

/** The file's world with what the case names in its place. */
export function worldOf(file: World, one: Partial<World>): World {
  const { time, root_ca, collateral, pccs } = { ...file, ...one };
  return { time, root_ca, collateral, pccs };
}

/** A verifier in `world`: with the collateral at hand, or asking the recorded service. */
export async function verifierIn(
  context: TestContext,
  world: World,
  how: 'file' | 'service',
): Promise<Verifier> {
  const { collateral, root_ca: root } = world;
  const source =
    how === 'service' || collateral === null
      ? (await startPccs(context, world.pccs)).url
      : { collateral: async (): Promise<Collateral> => collateralOfJson(collateral) };
  return new Verifier({
    collateral: source,
    now: () => new Date(world.time * 1000),
    ...(root !== null && { developmentRoot: root }),
  });
}

/** The expectations in the names of this package. */
export function expectationsOf(expect: JsonExpectations): EvidenceExpectations {
  return {
    ...(expect.report_data !== undefined && { reportData: expect.report_data }),
    ...(expect.tcb_statuses !== undefined && { tcbStatuses: expect.tcb_statuses }),
    ...(expect.app_id !== undefined && { appId: expect.app_id }),
    ...(expect.compose_hash !== undefined && { composeHash: expect.compose_hash }),
    ...(expect.device_ids !== undefined && { deviceIds: expect.device_ids }),
    ...(expect.measurements !== undefined && { measurements: expect.measurements }),
    ...(expect.key_provider_id !== undefined && { keyProviderId: expect.key_provider_id }),
  };
}

/** An appraisal in the names of the vectors. */
export function appraisalJson(appraisal: Appraisal): Record<string, unknown> {
  return {
    mrtd: appraisal.mrtd,
    rtmr0: appraisal.rtmr0,
    rtmr1: appraisal.rtmr1,
    rtmr2: appraisal.rtmr2,
    rtmr3: appraisal.rtmr3,
    report_data: appraisal.reportData,
    tcb_status: appraisal.tcbStatus,
    advisory_ids: appraisal.advisoryIds,
    debug: appraisal.debug,
    app_id: appraisal.appId,
    compose_hash: appraisal.composeHash,
    instance_id: appraisal.instanceId,
    device_id: appraisal.deviceId,
    mr_system: appraisal.mrSystem,
    mr_aggregated: appraisal.mrAggregated,
    key_provider: appraisal.keyProvider,
    events: appraisal.events.map(({ event, payload, version }) => ({
      event,
      payload: toHex(payload),
      version,
    })),
  };
}
