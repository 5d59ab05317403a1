/** Certificate paths to a root that is given. */

import { createPublicKey, type KeyObject } from 'node:crypto';
import { equalBytes } from '../bytes.js';
import type { Certificate } from './certificate.js';

/** Critical extensions that are understood; any other refuses the certificate. */
const UNDERSTOOD = new Set([
  '2.5.29.14', // subject key identifier
  '2.5.29.15', // key usage
  '2.5.29.17', // subject alternative name
  '2.5.29.19', // basic constraints
  '2.5.29.31', // CRL distribution points
  '2.5.29.35', // authority key identifier
  '2.5.29.37', // extended key usage
]);

/**
 * Verifies that each certificate of `path`, leaf first, was issued by the next and all are valid at
 * `time`; the last is the root, believed because the caller knows it.
 *
 * Names, signatures (ECDSA P-256 with SHA-256), validity, CA flags, path lengths and key usage are
 * checked. Extended key usage and names of hosts are not: no chain here depends on them.
 *
 * @throws Error saying which certificate is refused and why.
 */
export function verifyPath(path: readonly Certificate[], time: Date): void {
  path.forEach((certificate, depth) => {
    const refuse = (problem: string): never => {
      throw new Error(`certificate ${JSON.stringify(certificate.subjectText)} ${problem}`);
    };
    if (time < certificate.notBefore) refuse(`is valid from ${certificate.notBefore.toISOString()} only`);
    if (time > certificate.notAfter) refuse(`was valid until ${certificate.notAfter.toISOString()}`);
    const unknown = certificate.extensions.find(({ oid, critical }) => critical && !UNDERSTOOD.has(oid));
    if (unknown !== undefined) refuse(`has an unknown critical extension ${unknown.oid}`);
    if (depth > 0) {
      const authority = certificate.authority ?? refuse('is not a CA');
      if (depth - 1 > authority.pathLength) refuse('has more CAs beneath it than it allows');
      if (!certificate.allows('keyCertSign')) refuse('may not sign certificates');
    } else if (path.length > 1 && certificate.authority !== undefined) {
      refuse('is a CA, not an end entity');
    }
    const issuer = path[depth + 1];
    if (issuer !== undefined && !isIssuedBy(certificate, issuer)) {
      refuse(`was not issued by ${JSON.stringify(issuer.subjectText)}`);
    }
  });
}

/** Whether names fit and the signature holds. */
function isIssuedBy(certificate: Certificate, issuer: Certificate): boolean {
  return equalBytes(certificate.issuer, issuer.subject) && certificate.isSignedBy(issuer.publicKey);
}

/** The P-256 public key at the point X || Y. */
export function p256Key(point: Uint8Array): KeyObject {
  const coordinate = (start: number) => Buffer.from(point.subarray(start, start + 32)).toString('base64url');
  return createPublicKey({
    key: { kty: 'EC', crv: 'P-256', x: coordinate(0), y: coordinate(32) },
    format: 'jwk',
  });
}
