/** Every real quote among the vectors, whole and broken, gets the verdict that is known of it. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { toHex } from '../src/bytes.js';
import { type Collateral, collateralOfJson, VerificationError } from '../src/index.js';
import { INTEL_SGX_ROOT_CA } from '../src/tdx/intel-root.js';
import { parseQuote } from '../src/tdx/quote.js';
import { checkTd, isDebug } from '../src/tdx/tcb.js';
import { collateralKey, verifyQuote, verifySignatures } from '../src/tdx/verify.js';
import { certificateOf } from '../src/x509/certificate.js';
import { vectorPath } from './vectors.js';

const INTEL = certificateOf(INTEL_SGX_ROOT_CA);
/** Within the validity of the sample's collateral. */
const IN_TIME = new Date(1_750_414_563_000);
/** When every PCK certificate among the samples is valid. */
const TODAY = new Date(1_780_000_000_000);

const file = (name: string) => new Uint8Array(readFileSync(vectorPath(`attest/tdx/${name}`)));
const collateral = (name: string) => collateralOfJson(JSON.parse(Buffer.from(file(name)).toString()));
const sample = file('dcapqvl-v4/quote.bin');
const sampleCollateral = collateral('dcapqvl-v4/collateral.json');

/** One minute before the collateral is out of date. */
function lastMinute(of: Collateral): Date {
  const dates = [of.tcbInfo, of.qeIdentity].map((text) => Date.parse(JSON.parse(text).nextUpdate));
  return new Date(Math.min(...dates) - 60_000);
}

function refuses(code: string | string[], act: () => unknown): void {
  assert.throws(act, (error: Error) => {
    assert.ok(error instanceof VerificationError, String(error.stack));
    assert.ok([code].flat().includes(error.code), `${error.code}: ${error.message}`);
    return true;
  });
}

describe('whole quotes', () => {
  test('with their collateral are up to date', () => {
    const td = verifyQuote(sample, INTEL, sampleCollateral, IN_TIME);
    assert.equal(td.tcbStatus, 'UpToDate');
    assert.deepEqual(td.advisoryIds, []);
    assert.match(toHex(td.report.mrTd), /^91eb2b44d141d4ec/);
    assert.deepEqual(collateralKey(sample), { fmspc: 'b0c06f000000', ca: 'platform' });
  });

  test('of TDX 1.5 verify', () => {
    const its = collateral('dcapqvl-td15ex/collateral.json');
    const td = verifyQuote(file('dcapqvl-td15ex/quote.bin'), INTEL, its, lastMinute(its));
    assert.ok(td.report.td15 !== undefined);
    assert.ok(td.tcbStatus.length > 0);
  });

  for (const name of [
    'trustee-v4/quote.bin',
    'gotdx-v5/quote.bin',
    'gotdx-cos-ccel/quote.bin',
    'dcapqvl-v4/quote.bin',
  ]) {
    test(`${name} is genuine`, () => {
      const { parsed } = verifySignatures(file(name), INTEL, TODAY);
      checkTd(parsed.report);
      assert.ok(!isDebug(parsed.report));
    });
  }

  for (const name of ['gotdx-v4/quote.bin', 'azure-td-quote.bin']) {
    test(`${name} is genuine, but its TD lets the host inject faults`, () => {
      const { parsed } = verifySignatures(file(name), INTEL, TODAY);
      assert.throws(() => checkTd(parsed.report), /SEPT_VE_DISABLE/);
    });
  }

  test('of a debug TD are genuine, and debug', () => {
    const { parsed } = verifySignatures(file('trustee-v4-debug/quote.bin'), INTEL, TODAY);
    assert.ok(isDebug(parsed.report));
  });

  test('of a TD bound to a service TD are refused', () => {
    const { parsed } = verifySignatures(file('trustee-v5/quote.bin'), INTEL, TODAY);
    assert.throws(() => checkTd(parsed.report), /MRSERVICETD|not allowed|migrat/);
  });

  test('of a platform below every level are refused', () => {
    const its = collateral('dcapqvl-outdated/collateral.json');
    refuses('tcb_status', () => verifyQuote(file('dcapqvl-outdated/quote.bin'), INTEL, its, lastMinute(its)));
  });
});

describe('broken quotes', () => {
  for (const name of [
    'sig-bitflip',
    'report-data-bitflip',
    'mrtd-bitflip',
    'qe-report-bitflip',
    'ak-swapped',
    'debug-set',
    'truncated',
    'version-6',
    'siglen-huge',
    'empty',
  ]) {
    test(`${name} is refused`, () => {
      const quote = file(`broken/${name}.bin`);
      refuses('quote', () => verifyQuote(quote, INTEL, sampleCollateral, IN_TIME));
      refuses('quote', () => verifySignatures(quote, INTEL, IN_TIME));
    });
  }

  test('cut anywhere, or with any early byte changed, it is refused', () => {
    for (let length = 0; length < 4_900; length += 97) {
      refuses('quote', () => verifySignatures(sample.slice(0, length), INTEL, IN_TIME));
    }
    for (let index = 0; index < 1_300; index += 41) {
      const changed = sample.slice();
      changed[index] = (changed[index] ?? 0) ^ 1;
      refuses('quote', () => verifySignatures(changed, INTEL, IN_TIME));
    }
  });

  test('too long a quote is not read', () => {
    refuses('quote', () => collateralKey(new Uint8Array(64 * 1024 + 1)));
    assert.throws(() => parseQuote(new Uint8Array(64 * 1024 + 1)), /limit/);
  });

  test('under another root it is refused', () => {
    const other = certificateOf(readFileSync(vectorPath('attest/AWS_NitroEnclaves_Root-G1.pem'), 'utf8'));
    refuses('quote', () => verifyQuote(sample, other, sampleCollateral, IN_TIME));
  });
});

describe('collateral', () => {
  const change = (changes: Partial<Collateral>): Collateral => ({ ...sampleCollateral, ...changes });
  const other = collateral('dcapqvl-td15ex/collateral.json');
  const cases: [string, () => Collateral][] = [
    ['with nextUpdate edited', () => collateral('broken/collateral-nextupdate-edited.json')],
    ['with its signature zeroed', () => collateral('broken/collateral-tcb-sig-zero.json')],
    ['without a CRL', () => collateral('broken/collateral-no-crl.json')],
    ['with an empty CRL of the root', () => change({ rootCaCrl: new Uint8Array() })],
    ['with an empty CRL of the PCK CA', () => change({ pckCrl: new Uint8Array() })],
    [
      'with the CRLs swapped',
      () => change({ rootCaCrl: sampleCollateral.pckCrl, pckCrl: sampleCollateral.rootCaCrl }),
    ],
    ['with a byte after a CRL', () => change({ rootCaCrl: Uint8Array.of(...sampleCollateral.rootCaCrl, 0) })],
    [
      'with a changed CRL',
      () => {
        const pckCrl = sampleCollateral.pckCrl.slice();
        pckCrl[pckCrl.length - 200] = (pckCrl.at(-200) ?? 0) ^ 1;
        return change({ pckCrl });
      },
    ],
    ['without signers', () => change({ tcbInfoIssuerChain: '' })],
    ['signed by the root itself', () => change({ tcbInfoIssuerChain: INTEL_SGX_ROOT_CA })],
    ['with one blank more', () => change({ tcbInfo: `${sampleCollateral.tcbInfo} ` })],
    [
      'with the documents swapped',
      () =>
        change({
          tcbInfo: sampleCollateral.qeIdentity,
          tcbInfoSignature: sampleCollateral.qeIdentitySignature,
        }),
    ],
    [
      'with a short signature',
      () => change({ qeIdentitySignature: sampleCollateral.qeIdentitySignature.slice(1) }),
    ],
    [
      'with TCB info of another platform',
      () => change({ tcbInfo: other.tcbInfo, tcbInfoSignature: other.tcbInfoSignature }),
    ],
  ];
  for (const [what, make] of cases) {
    test(`${what} is refused`, () => {
      refuses('collateral', () => verifyQuote(sample, INTEL, make(), IN_TIME));
    });
  }

  test('counts only in its time', () => {
    for (const seconds of [1_753_006_563, 1_780_000_000, 1_740_000_000]) {
      refuses('collateral', () => verifyQuote(sample, INTEL, sampleCollateral, new Date(seconds * 1000)));
    }
  });

  test('of another platform is refused', () => {
    refuses('collateral', () => verifyQuote(file('trustee-v4/quote.bin'), INTEL, sampleCollateral, IN_TIME));
  });

  test('in another form is refused', () => {
    for (const value of [null, [], {}, '{', 1, { root_ca_crl: 'zz' }, { root_ca_crl: [256] }]) {
      refuses('collateral', () => collateralOfJson(value));
    }
  });
});
