/** Evidence against the shared vectors. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { EvidenceInput, QuoteJson } from '../src/index.js';
import { VerificationError } from '../src/index.js';
import {
  appraisalJson,
  type Case,
  type EvidenceVectors,
  expectationsOf,
  verifierIn,
  worldOf,
} from './evidence-vectors.js';
import { bytes, sdkVectors } from './vectors.js';

const file = sdkVectors<EvidenceVectors>('evidence.json');

function inputOf(one: Partial<Case>): EvidenceInput {
  if (one.json !== undefined) return one.json;
  if (one.bytes !== undefined) return bytes(one.bytes);
  switch (one.base) {
    case 'attestation_v0':
      return bytes(file.attestation_v0);
    case 'attestation_v1':
      return bytes(file.attestation_v1);
    case 'get_quote':
      return file.get_quote;
    default:
      throw new Error(`base ${one.base} is not known`);
  }
}

describe('one VM in three forms', () => {
  for (const base of ['attestation_v0', 'attestation_v1', 'get_quote']) {
    for (const how of ['file', 'service'] as const) {
      test(`${base}, collateral from a ${how}`, async (context) => {
        const verifier = await verifierIn(context, file, how);
        const appraisal = await verifier.verifyEvidence(inputOf({ base }), expectationsOf(file.expect));
        assert.deepEqual(appraisalJson(appraisal), file.appraisal);
      });
    }
  }

  test('as the client answers it', async (context) => {
    const verifier = await verifierIn(context, file, 'file');
    const {
      quote,
      event_log: eventLog,
      report_data: reportData,
      vm_config: vmConfig,
    } = file.get_quote as Required<QuoteJson>;
    const answer = {
      quote: bytes(quote),
      eventLog,
      reportData: bytes(reportData),
      vmConfig,
      attestation: new Uint8Array(),
      events: () => [],
    };
    const appraisal = await verifier.verifyEvidence(answer, expectationsOf(file.expect));
    assert.deepEqual(appraisalJson(appraisal), file.appraisal);
  });
});

describe('accepted evidence', () => {
  for (const one of file.good) {
    test(one.name, async (context) => {
      const verifier = await verifierIn(context, worldOf(file, one), 'file');
      const appraisal = await verifier.verifyEvidence(
        inputOf(one),
        expectationsOf(one.expect ?? file.expect),
      );
      assert.deepEqual(appraisalJson(appraisal), one.appraisal ?? { ...appraisalJson(appraisal) });
    });
  }
});

describe('refused evidence', () => {
  for (const one of file.bad) {
    test(one.name, async (context) => {
      const verifier = await verifierIn(context, worldOf(file, one), 'file');
      await assert.rejects(
        verifier.verifyEvidence(inputOf(one), expectationsOf(one.expect ?? file.expect)),
        (error) => {
          assert.ok(error instanceof VerificationError, String(error));
          assert.ok([one.code, ...(one.or ?? [])].includes(error.code), `${error.code}: ${error.message}`);
          return true;
        },
      );
    });
  }

  test('without saying whom it was made for', async (context) => {
    const verifier = await verifierIn(context, file, 'file');
    await assert.rejects(verifier.verifyEvidence(inputOf({ base: 'attestation_v0' }), {}), { code: 'input' });
  });
});
