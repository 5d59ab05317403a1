/** Certificate revocation lists. */

import { verify } from 'node:crypto';
import { AsnConvert } from '@peculiar/asn1-schema';
import { CertificateList } from '@peculiar/asn1-x509';
import { equalBytes } from '../bytes.js';
import { type Certificate, ECDSA_SHA256, isP256, normalSerial } from './certificate.js';
import { parseDer } from './der.js';

/** A list whose issuer signed it and which is current. */
export interface RevocationList {
  readonly revokedSerials: ReadonlySet<string>;
}

/**
 * Verifies a CRL of `issuer` at `time`.
 *
 * @throws Error saying why it is refused.
 */
export function verifyCrl(der: Uint8Array, issuer: Certificate, time: Date): RevocationList {
  const { tbsCertList: list, tbsCertListRaw, signatureAlgorithm, signature } = parseDer(der, CertificateList);
  if (tbsCertListRaw === undefined) throw new Error('it has no signed part');
  if (!equalBytes(new Uint8Array(AsnConvert.serialize(list.issuer)), issuer.subject)) {
    throw new Error(`it is not of ${JSON.stringify(issuer.subjectText)}`);
  }
  if (signatureAlgorithm.algorithm !== ECDSA_SHA256 || list.signature.algorithm !== ECDSA_SHA256) {
    throw new Error(`it is signed with ${signatureAlgorithm.algorithm}, not with ECDSA and SHA-256`);
  }
  if (!issuer.allows('cRLSign')) throw new Error('its issuer may not sign CRLs');
  const key = issuer.publicKey;
  if (!isP256(key) || !verify('sha256', new Uint8Array(tbsCertListRaw), key, new Uint8Array(signature))) {
    throw new Error('its signature does not hold');
  }
  if (time < list.thisUpdate.getTime())
    throw new Error(`it is valid from ${list.thisUpdate.getTime().toISOString()} only`);
  const nextUpdate = list.nextUpdate?.getTime();
  if (nextUpdate === undefined) throw new Error('it does not say until when it is valid');
  if (time > nextUpdate) throw new Error(`it was valid until ${nextUpdate.toISOString()}`);

  const entries = list.revokedCertificates ?? [];
  // A critical extension can change what an entry means, as with indirect or delta CRLs.
  const unknown = [
    ...(list.crlExtensions ?? []),
    ...entries.flatMap((entry) => entry.crlEntryExtensions ?? []),
  ].find(({ critical }) => critical);
  if (unknown !== undefined) throw new Error(`it has an unknown critical extension ${unknown.extnID}`);
  return { revokedSerials: new Set(entries.map((entry) => normalSerial(entry.userCertificate))) };
}
