/** Certificates against the shared vectors. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  type CertificateAppraisal,
  collateralOfJson,
  VerificationError,
  type Verifier,
  verifyCertificate,
  verifyCertificateWith,
} from '../src/index.js';
import {
  appraisalJson,
  type Case,
  type CertificateVectors,
  expectationsOf,
  verifierIn,
  worldOf,
} from './evidence-vectors.js';
import { bytes, sdkVectors } from './vectors.js';

const file = sdkVectors<CertificateVectors>('certificate.json');

function verify(verifier: Verifier, one: Partial<Case>): Promise<CertificateAppraisal> {
  const spki = one.kms_ca_spki === undefined ? file.kms_ca_spki : one.kms_ca_spki;
  return verifyCertificate(
    verifier,
    one.chain ?? file.chain,
    spki === null ? null : { caSpki: bytes(spki) },
    expectationsOf(one.expect ?? file.expect),
  );
}

/** The vectors' appraisal may say more of the certificate itself. */
function certificateJson(appraisal: CertificateAppraisal, names: string[]): Record<string, unknown> {
  const all: Record<string, unknown> = {
    ...appraisalJson(appraisal),
    subject: appraisal.subject,
    usage: appraisal.usage,
    public_key: Buffer.from(appraisal.publicKey).toString('hex'),
    spki: Buffer.from(appraisal.publicKey).toString('hex'),
    not_before: appraisal.notBefore.getTime() / 1000,
    not_after: appraisal.notAfter.getTime() / 1000,
  };
  return Object.fromEntries(names.map((name) => [name, all[name]]));
}

describe('the chain of a TLS key', () => {
  for (const how of ['file', 'service'] as const) {
    test(`collateral from a ${how}`, async (context) => {
      const appraisal = await verify(await verifierIn(context, file, how), {});
      assert.deepEqual(certificateJson(appraisal, Object.keys(file.appraisal)), file.appraisal);
      assert.equal(appraisal.usage, 'app:custom');
    });
  }

  test('as one PEM text, as DER, and without waiting', async (context) => {
    const verifier = await verifierIn(context, file, 'file');
    const der = file.chain.map((pem) => Buffer.from(pem.replace(/-----[A-Z ]+-----|\s/g, ''), 'base64'));
    const root = { caSpki: bytes(file.kms_ca_spki) };
    for (const chain of [file.chain.join(''), der]) {
      const appraisal = await verifyCertificate(verifier, chain, root, expectationsOf(file.expect));
      assert.deepEqual(certificateJson(appraisal, Object.keys(file.appraisal)), file.appraisal);
      const collateral = collateralOfJson(file.collateral);
      assert.deepEqual(verifyCertificateWith(verifier, collateral, chain, root), appraisal);
    }
  });
});

describe('accepted certificates', () => {
  for (const one of file.good) {
    test(one.name, async (context) => {
      const appraisal = await verify(await verifierIn(context, worldOf(file, one), 'file'), one);
      assert.equal(appraisal.debug, false);
      if (one.appraisal !== undefined) {
        assert.deepEqual(certificateJson(appraisal, Object.keys(one.appraisal)), one.appraisal);
      }
    });
  }
});

describe('refused certificates', () => {
  for (const one of file.bad) {
    test(one.name, async (context) => {
      const verifier = await verifierIn(context, worldOf(file, one), 'file');
      await assert.rejects(verify(verifier, one), (error) => {
        assert.ok(error instanceof VerificationError, String(error));
        assert.ok([one.code, ...(one.or ?? [])].includes(error.code), `${error.code}: ${error.message}`);
        return true;
      });
    });
  }
});
