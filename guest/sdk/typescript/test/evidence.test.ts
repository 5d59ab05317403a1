/** Evidence against the shared vectors. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { EvidenceInput, QuoteJson } from '../src/index.js';
import { parseEvidence, VerificationError } from '../src/index.js';
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

describe('bytes from outside', () => {
  for (const form of ['attestation_v0', 'attestation_v1'] as const) {
    const whole = bytes(file[form]);

    test(`${form}, cut or changed anywhere, is parsed or refused`, () => {
      for (let index = 0; index < whole.length; index += 53) {
        assert.throws(() => parseEvidence(whole.slice(0, index)), VerificationError);
        for (const flip of [1, 0x80, 0xff]) {
          const changed = whole.slice();
          changed[index] = (changed[index] ?? 0) ^ flip;
          try {
            assert.ok(parseEvidence(changed).quote instanceof Uint8Array);
          } catch (error) {
            assert.ok(error instanceof VerificationError, String(error));
          }
        }
      }
    });
  }

  const levels = (head: number[], count: number) =>
    Uint8Array.of(0x81, 0xa1, 0x61, ...Array(count).fill(head).flat());
  for (const [what, evidence] of [
    ['lists that claim more than there is', levels([0xdd, 0, 1, 0, 0], 10_000)],
    ['one list of four billion', levels([0xdd, 0xff, 0xff, 0xff, 0xff], 1)],
    ['one map of four billion', Uint8Array.of(0xdf, 0xff, 0xff, 0xff, 0xff)],
    ['deep nesting', Uint8Array.of(...levels([0x91], 100_000), 0xc0)],
    ['an extension type', Uint8Array.of(0x81, 0xa1, 0x61, 0xd4, 0x01, 0x00)],
    ['a list of a billion events', Uint8Array.of(0, 0, 0, 0xfe, 0xff, 0xff, 0xff)],
  ] as const) {
    test(`${what} takes neither time nor memory`, () => {
      const started = performance.now();
      assert.throws(() => parseEvidence(evidence), VerificationError);
      assert.ok(performance.now() - started < 2_000);
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
