// TLS keys: the certificates of the app, up to the root CA of the KMS.

import assert from 'node:assert/strict';
import { createHash, createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { decode } from '@msgpack/msgpack';
import { AsnParser, OctetString } from '@peculiar/asn1-schema';
import {
  Certificate,
  ExtendedKeyUsage,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_kp_clientAuth,
  id_kp_serverAuth,
  KeyUsage,
  KeyUsageFlags,
} from '@peculiar/asn1-x509';
import { within } from './quote.mjs';
import { rawRefused, toHex } from './system.mjs';

const ARC = '1.3.6.1.4.1.62397.1';
const [APP_ID, SPECIAL_USAGE, ATTESTATION, APP_INFO] = [3, 4, 8, 9].map((n) => `${ARC}.${n}`);
/**
 * A PKCS#8 P-256 key up to its scalar. Account helpers cut this encoding by
 * length, so another encoding of the same key would change people's accounts.
 */
export const PKCS8 = Buffer.from(
  '308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420',
  'hex',
);

const spki = (certificate) => certificate.publicKey.export({ format: 'der', type: 'spki' });

function extensionValue(certificate, oid) {
  const parsed = AsnParser.parse(certificate.raw, Certificate);
  const found = parsed.tbsCertificate.extensions?.find(({ extnID }) => extnID === oid);
  return found && { critical: found.critical, der: found.extnValue.buffer };
}

/** The content of one of our extensions: an OCTET STRING, as dstack's are. */
export function extension(certificate, oid) {
  const found = extensionValue(certificate, oid);
  if (!found) return undefined;
  assert.equal(found.critical, false, `extension ${oid} is not critical`);
  return Buffer.from(AsnParser.parse(found.der, OctetString).buffer);
}

/** Check a chain from leaf to the root the contract names; answers the leaf. */
export function chained(system, pems) {
  assert.equal(pems.length, 3, 'certificates in a chain');
  const [leaf, appCa, root] = pems.map((pem) => new X509Certificate(pem));
  assert.deepEqual(spki(root), system.caSpki, 'the key of the root CA');
  for (const [issued, issuer] of [
    [leaf, appCa],
    [appCa, root],
    [root, root],
  ]) {
    assert.ok(issued.checkIssued(issuer), 'a certificate names its issuer');
    assert.ok(issued.verify(issuer.publicKey), 'a certificate is signed by its issuer');
    assert.ok(new Date(issued.validFrom) < new Date(), 'a certificate is valid already');
  }
  assert.deepEqual([leaf.ca, appCa.ca, root.ca], [false, true, true], 'which are CAs');
  assert.deepEqual(extension(appCa, APP_ID), system.appId, 'the app id of the app CA');
  assert.equal(extension(appCa, SPECIAL_USAGE).toString(), 'app:ca', 'the usage of the app CA');
  assert.deepEqual(extension(leaf, APP_ID), system.appId, 'the app id of a leaf');
  assert.equal(extension(leaf, SPECIAL_USAGE).toString(), 'app:custom', 'the usage of a leaf');
  const usage = AsnParser.parse(extensionValue(leaf, id_ce_keyUsage).der, KeyUsage);
  assert.equal(usage.toNumber(), KeyUsageFlags.digitalSignature, 'a leaf signs data only');
  return leaf;
}

/** The certificate is about the key beside it; answers the key's scalar. */
export function ownKey(answer, leaf) {
  assert.equal(answer.__name__, 'GetTlsKeyResponse');
  assert.match(answer.key, /^-----BEGIN PRIVATE KEY-----\n/, 'the key is PKCS#8');
  const der = Buffer.from(answer.asUint8Array());
  assert.equal(der.length, 138, "the key's length is dstack's");
  assert.deepEqual(der.subarray(0, 36), PKCS8, "the key's encoding is dstack's");
  assert.deepEqual(Buffer.from(answer.asUint8Array(40)), der.subarray(0, 40), 'a cut key');
  const key = createPublicKey(createPrivateKey(answer.key));
  assert.equal(key.asymmetricKeyDetails.namedCurve, 'prime256v1', 'the key is on P-256');
  assert.deepEqual(spki(leaf), key.export({ format: 'der', type: 'spki' }), 'the key of a leaf');
  return toHex(der.subarray(36, 68));
}

/** The alternative names of a certificate, in order, as `DNS:a` and `IP Address:b`. */
export const alternatives = (leaf) => leaf.subjectAltName?.split(', ') ?? [];

function usages(leaf) {
  const found = extensionValue(leaf, id_ce_extKeyUsage);
  return found ? [...AsnParser.parse(found.der, ExtendedKeyUsage)].sort() : [];
}

/** The evidence in a certificate is about the certificate's key. */
function attested(evidence, leaf) {
  const bound = createHash('sha512').update('ratls-cert:').update(spki(leaf)).digest();
  assert.deepEqual(within(evidence).reportData, bound, 'the key the evidence names');
}

/** getTlsKey: fresh keys, names, usages, times, evidence. */
export async function issued(client, system) {
  const plain = await client.getTlsKey();
  const bare = chained(system, plain.certificate_chain);
  ownKey(plain, bare);
  assert.deepEqual(usages(bare), [id_kp_serverAuth], 'usages the SDK asks for unless told');
  assert.deepEqual(alternatives(bare), [], 'alternative names nobody asked for');
  for (const oid of [ATTESTATION, APP_INFO]) {
    assert.equal(extension(bare, oid), undefined, `extension ${oid} nobody asked for`);
  }

  const keys = new Set();
  const altNames = ['z.example', 'a.example', '127.0.0.1', 'm.example'];
  for (const [usageServerAuth, usageClientAuth] of [
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ]) {
    const options = { subject: 'app.example', altNames, usageServerAuth, usageClientAuth };
    const answer = await client.getTlsKey(options);
    const leaf = chained(system, answer.certificate_chain);
    keys.add(ownKey(answer, leaf));
    const wanted = [];
    if (usageServerAuth) wanted.push(id_kp_serverAuth);
    if (usageClientAuth) wanted.push(id_kp_clientAuth);
    assert.deepEqual(usages(leaf), wanted.sort(), 'extended key usages');
    assert.equal(leaf.subject, 'CN=app.example', 'the subject');
    const shown = alternatives(leaf);
    const dns = shown.filter((name) => name.startsWith('DNS:'));
    assert.deepEqual(dns, ['DNS:z.example', 'DNS:a.example', 'DNS:m.example'], 'names in order');
    const rest = shown.filter((name) => !name.startsWith('DNS:'));
    assert.deepEqual(rest, ['IP Address:127.0.0.1'], 'addresses among the names');
  }
  assert.equal(keys.size, 4, 'distinct keys of four requests');

  const answer = await client.getTlsKey({ subject: 'ra', usageRaTls: true });
  const leaf = chained(system, answer.certificate_chain);
  attested(extension(leaf, ATTESTATION), leaf);
  await timed(client, system);
  await described(client, system);
}

async function timed(client, system) {
  const now = Math.floor(Date.now() / 1000);
  const [notBefore, notAfter] = [now - 3600, now + 86400];
  const answer = await client.getTlsKey({ notBefore, notAfter });
  const leaf = chained(system, answer.certificate_chain);
  assert.equal(Date.parse(leaf.validFrom), notBefore * 1000, 'notBefore');
  assert.equal(Date.parse(leaf.validTo), notAfter * 1000, 'notAfter');
  // This SDK hands the refusal on as if it were an answer.
  const backwards = await client.getTlsKey({ notBefore: notAfter, notAfter: notBefore });
  const words = /not_before must be earlier than not_after/;
  assert.match(backwards.error, words, 'a certificate that ends before it starts');
  assert.equal(backwards.key, undefined, 'no key comes with a refusal');
  const body = { not_before: now, not_after: now };
  await rawRefused(system.guest, '/GetTlsKey', body, words, 'a certificate for no time');
}

/** `withAppInfo` puts a summary of the app into the certificate. */
async function described(client, system) {
  const answer = await client.getTlsKey({ withAppInfo: true });
  const content = extension(chained(system, answer.certificate_chain), APP_INFO);
  assert.ok(content, 'a certificate with app info carries it');
  const [appId, composeHash, instanceId] = decode(content);
  const info = await client.info();
  assert.equal(toHex(appId), toHex(system.appId), 'the app id in the app info');
  assert.equal(toHex(composeHash), info.compose_hash, 'its compose hash');
  assert.equal(toHex(instanceId), info.instance_id, 'its instance id');
  const without = await client.getTlsKey({ withAppInfo: false });
  const leaf = chained(system, without.certificate_chain);
  assert.equal(extension(leaf, APP_INFO), undefined, 'app info that was declined');
}

/** Info's certificate, which others read to learn about the app. */
export async function demo(client, system) {
  const { app_cert } = await client.info();
  const pems = app_cert.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  const leaf = chained(system, pems);
  attested(extension(leaf, ATTESTATION), leaf);
}
