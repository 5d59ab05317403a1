/** Certificate paths and CRLs, with certificates made for the purpose. */

import 'reflect-metadata';
import assert from 'node:assert/strict';
import type { webcrypto } from 'node:crypto';
import { before, describe, test } from 'node:test';
import * as x509 from '@peculiar/x509';
import { Certificate, certificateOf } from '../src/x509/certificate.js';
import { verifyCrl } from '../src/x509/crl.js';
import { octetString } from '../src/x509/der.js';
import { verifyPath } from '../src/x509/path.js';

x509.cryptoProvider.set(globalThis.crypto);

const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const P384 = { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' };
const NOW = new Date('2026-06-01T00:00:00Z');
const VALID = { notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date('2027-01-01T00:00:00Z') };

const pair = (algorithm = P256) =>
  globalThis.crypto.subtle.generateKey(algorithm, true, [
    'sign',
    'verify',
  ]) as Promise<webcrypto.CryptoKeyPair>;

interface Made {
  name: string;
  keys: webcrypto.CryptoKeyPair;
  certificate: Certificate;
}

interface Spec {
  name: string;
  issuer?: Made;
  keys?: webcrypto.CryptoKeyPair;
  algorithm?: typeof P256;
  ca?: boolean | number;
  usages?: number;
  notBefore?: Date;
  notAfter?: Date;
  extensions?: x509.Extension[];
  issuerName?: string;
}

async function make(spec: Spec): Promise<Made> {
  const keys = spec.keys ?? (await pair());
  const extensions = [...(spec.extensions ?? [])];
  if (spec.ca !== undefined && spec.ca !== false) {
    extensions.push(new x509.BasicConstraintsExtension(true, spec.ca === true ? undefined : spec.ca, true));
  }
  if (spec.usages !== undefined) extensions.push(new x509.KeyUsagesExtension(spec.usages, true));
  const made = await x509.X509CertificateGenerator.create({
    serialNumber: Buffer.from(
      globalThis.crypto.getRandomValues(new Uint8Array(8)).map((byte) => byte & 0x7f),
    ).toString('hex'),
    subject: `CN=${spec.name}`,
    issuer: `CN=${spec.issuerName ?? spec.issuer?.name ?? spec.name}`,
    notBefore: spec.notBefore ?? VALID.notBefore,
    notAfter: spec.notAfter ?? VALID.notAfter,
    publicKey: keys.publicKey,
    signingKey: (spec.issuer?.keys ?? keys).privateKey,
    signingAlgorithm: spec.algorithm ?? P256,
    extensions,
  });
  return { name: spec.name, keys, certificate: new Certificate(new Uint8Array(made.rawData)) };
}

const SIGN = x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign;

let root: Made;
let ca: Made;
let leaf: Made;
before(async () => {
  root = await make({ name: 'root', ca: 1, usages: SIGN });
  ca = await make({ name: 'ca', issuer: root, ca: 0, usages: SIGN });
  leaf = await make({ name: 'leaf', issuer: ca, usages: x509.KeyUsageFlags.digitalSignature });
});

const path = (...made: Made[]) => made.map(({ certificate }) => certificate);

describe('paths', () => {
  test('leaf, CA and root', () => {
    verifyPath(path(leaf, ca, root), NOW);
    verifyPath(path(leaf, ca, root), VALID.notAfter);
    verifyPath(path(leaf, ca, root), VALID.notBefore);
  });

  const cases: [string, RegExp, () => Promise<[Certificate[], Date?]>][] = [
    [
      'before its time',
      /valid from/,
      async () => [path(leaf, ca, root), new Date(VALID.notBefore.getTime() - 1000)],
    ],
    [
      'after its time',
      /valid until/,
      async () => [path(leaf, ca, root), new Date(VALID.notAfter.getTime() + 1000)],
    ],
    [
      'with a CA that is out of date',
      /"CN=old" was valid until/,
      async () => {
        const old = await make({
          name: 'old',
          issuer: root,
          ca: 0,
          usages: SIGN,
          notAfter: new Date('2026-05-01T00:00:00Z'),
        });
        return [path(await make({ name: 'leaf', issuer: old }), old, root)];
      },
    ],
    ['with one left out', /not issued by/, async () => [path(leaf, root)]],
    ['in another order', /not issued by|is a CA/, async () => [path(leaf, root, ca)]],
    [
      'with a leaf of another key of the same name',
      /not issued by/,
      async () => [path(await make({ name: 'leaf', issuer: { ...ca, keys: await pair() } }), ca, root)],
    ],
    [
      'with a leaf that names another issuer',
      /not issued by/,
      async () => [path(await make({ name: 'leaf', issuer: ca, issuerName: 'somebody' }), ca, root)],
    ],
    [
      'with a CA that is none',
      /is not a CA/,
      async () => {
        const none = await make({ name: 'none', issuer: root, usages: SIGN });
        return [path(await make({ name: 'leaf', issuer: none }), none, root)];
      },
    ],
    [
      'with a CA that may not sign',
      /may not sign/,
      async () => {
        const mute = await make({
          name: 'mute',
          issuer: root,
          ca: 0,
          usages: x509.KeyUsageFlags.digitalSignature,
        });
        return [path(await make({ name: 'leaf', issuer: mute }), mute, root)];
      },
    ],
    [
      'longer than allowed',
      /more CAs beneath/,
      async () => {
        const deep = await make({ name: 'deep', issuer: ca, ca: 0, usages: SIGN });
        return [path(await make({ name: 'leaf', issuer: deep }), deep, ca, root)];
      },
    ],
    ['ending in a CA', /is a CA, not an end entity/, async () => [path(ca, root)]],
    [
      'with an unknown critical extension',
      /unknown critical/,
      async () => {
        const extensions = [new x509.Extension('1.2.3.4', true, Uint8Array.of(5, 0))];
        return [path(await make({ name: 'leaf', issuer: ca, extensions }), ca, root)];
      },
    ],
    [
      'with another curve',
      /not issued by/,
      async () => {
        const strange = await make({
          name: 'strange',
          issuer: root,
          ca: 0,
          usages: SIGN,
          keys: await pair(P384),
        });
        return [path(await make({ name: 'leaf', issuer: strange, algorithm: P256 }), strange, root)];
      },
    ],
    [
      'with another hash',
      /not issued by/,
      async () => [
        path(await make({ name: 'leaf', issuer: ca, algorithm: { ...P256, hash: 'SHA-384' } }), ca, root),
      ],
    ],
  ];
  for (const [what, reason, build] of cases) {
    test(`${what} are refused`, async () => {
      const [certificates, time] = await build();
      assert.throws(() => verifyPath(certificates, time ?? NOW), reason);
    });
  }
});

describe('parsing', () => {
  test('PEM and DER are the same certificate', () => {
    const body = Buffer.from(leaf.certificate.der).toString('base64');
    const pem = `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`;
    for (const form of [pem, new TextEncoder().encode(pem), leaf.certificate.der]) {
      assert.deepEqual(certificateOf(form).der, leaf.certificate.der);
    }
    assert.throws(() => certificateOf(pem + pem), /2 certificates/);
    assert.throws(() => certificateOf(''), /no certificate/);
    assert.throws(() => certificateOf(new Uint8Array()), Error);
  });

  test('bytes that follow, and every cut, are refused', () => {
    const { der } = leaf.certificate;
    assert.throws(() => new Certificate(Uint8Array.of(...der, 0)), /follow/);
    for (let length = 0; length < der.length; length += 1) {
      assert.throws(() => new Certificate(der.slice(0, length)), Error);
    }
  });

  test('an extension that appears twice is refused', async () => {
    const twice = [1, 2].map((byte) => new x509.Extension('1.2.3.4', false, Uint8Array.of(4, 1, byte)));
    await assert.rejects(make({ name: 'twice', extensions: twice }), /appears twice/);
  });

  test('deep nesting ends in an error', () => {
    const deep = new Uint8Array(20_000).fill(0x30);
    for (let index = 1; index < deep.length; index += 2) deep[index] = 0x80;
    assert.throws(() => new Certificate(deep), Error);
  });

  test('an OCTET STRING is unwrapped, anything else refused', () => {
    assert.deepEqual(octetString(Uint8Array.of(4, 2, 7, 8)), Uint8Array.of(7, 8));
    for (const bytes of [[4, 2, 7], [4, 1, 7, 8], [5, 0], [0x24, 4, 4, 2, 7, 8], []]) {
      assert.throws(() => octetString(Uint8Array.from(bytes)), Error);
    }
  });
});

describe('CRLs', () => {
  interface CrlSpec {
    issuer?: Made;
    name?: string;
    thisUpdate?: Date;
    nextUpdate?: Date | null;
    revoked?: Certificate[];
    algorithm?: typeof P256;
    extensions?: x509.Extension[];
  }
  async function crl(spec: CrlSpec = {}): Promise<Uint8Array> {
    const issuer = spec.issuer ?? ca;
    const list = await x509.X509CrlGenerator.create({
      issuer: `CN=${spec.name ?? issuer.name}`,
      thisUpdate: spec.thisUpdate ?? VALID.notBefore,
      ...(spec.nextUpdate !== null && { nextUpdate: spec.nextUpdate ?? VALID.notAfter }),
      entries: (spec.revoked ?? []).map(({ serial }) => ({
        serialNumber: serial,
        revocationDate: VALID.notBefore,
      })),
      signingKey: issuer.keys.privateKey,
      signingAlgorithm: spec.algorithm ?? P256,
      extensions: spec.extensions ?? [],
    });
    return new Uint8Array(list.rawData);
  }

  test('name the revoked', async () => {
    const list = verifyCrl(await crl({ revoked: [leaf.certificate] }), ca.certificate, NOW);
    assert.ok(list.revokedSerials.has(leaf.certificate.serial));
    assert.ok(!list.revokedSerials.has(ca.certificate.serial));
    assert.equal(verifyCrl(await crl(), ca.certificate, NOW).revokedSerials.size, 0);
  });

  const cases: [string, RegExp, () => Promise<Uint8Array>][] = [
    ['of another key', /signature/, async () => crl({ issuer: { ...ca, keys: await pair() } })],
    ['of another issuer', /is not of/, () => crl({ name: 'somebody' })],
    ['not yet valid', /valid from/, () => crl({ thisUpdate: new Date('2026-07-01T00:00:00Z') })],
    ['out of date', /valid until/, () => crl({ nextUpdate: new Date('2026-05-01T00:00:00Z') })],
    ['valid for ever', /does not say/, () => crl({ nextUpdate: null })],
    ['signed with another hash', /SHA-256/, () => crl({ algorithm: { ...P256, hash: 'SHA-384' } })],
    [
      'with a critical extension',
      /critical/,
      () => crl({ extensions: [new x509.Extension('2.5.29.28', true, Uint8Array.of(0x30, 0))] }),
    ],
    ['with a byte after it', /follow/, async () => Uint8Array.of(...(await crl()), 0)],
    ['that are none', /./, async () => Uint8Array.of(0x30, 0)],
    ['that are empty', /./, async () => new Uint8Array()],
  ];
  for (const [what, reason, build] of cases) {
    test(`${what} are refused`, async () => {
      const list = await build();
      assert.throws(() => verifyCrl(list, ca.certificate, NOW), reason);
    });
  }

  test('of an issuer that may not sign them are refused', async () => {
    const mute = await make({ name: 'mute', ca: 0, usages: x509.KeyUsageFlags.keyCertSign });
    const list = await crl({ issuer: mute });
    assert.throws(() => verifyCrl(list, mute.certificate, NOW), /may not sign CRLs/);
  });
});
