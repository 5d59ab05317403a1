/** Verification of a TDX quote against a root, collateral and a time. */

import { createHash, type KeyObject, verify as verifySignature } from 'node:crypto';
import { equalBytes } from '../bytes.js';
import type { Collateral } from '../collateral.js';
import { refuseAs, VerificationError } from '../errors.js';
import { Certificate, certificatesOfPem, isP256 } from '../x509/certificate.js';
import { type RevocationList, verifyCrl } from '../x509/crl.js';
import { p256Key, verifyPath } from '../x509/path.js';
import { parseQeIdentity, parseTcbInfo } from './collateral-documents.js';
import { type PckPlatform, pckCa, pckPlatform } from './pck.js';
import { parseQuote, reportsDigest, type TdReport, type TdxQuote } from './quote.js';
import { checkTd, isDebug, judgeQe, judgeTcb, type TcbStatus } from './tcb.js';

/** Most certificates in a chain: leaf, CA, root, and one to spare for error messages. */
const MAX_CHAIN = 4;

/** A quote that holds. */
export interface VerifiedTd {
  readonly report: TdReport;
  readonly tcbStatus: TcbStatus;
  readonly advisoryIds: readonly string[];
  /** Identifies the machine. */
  readonly ppid: Uint8Array;
}

/** Which collateral a quote needs. */
export interface CollateralKey {
  /** Hexadecimal. */
  readonly fmspc: string;
  readonly ca: 'processor' | 'platform';
}

/** Which collateral `quote` needs; the quote is not believed yet. */
export function collateralKey(quote: Uint8Array): CollateralKey {
  return refuseAs('quote', 'the quote', () => {
    const [leaf] = chainOf(parseQuote(quote));
    return { fmspc: Buffer.from(pckPlatform(leaf).fmspc).toString('hex'), ca: pckCa(leaf) };
  });
}

/**
 * Verifies signatures, chain, revocation, TCB and QE identity as of `time`.
 *
 * What is never policy (debug mode, service TDs, foreign modules, revoked platforms) is refused here.
 *
 * @throws VerificationError `quote`, `collateral`, `debug` or `tcb_status`.
 */
export function verifyQuote(
  quote: Uint8Array,
  root: Certificate,
  collateral: Collateral,
  time: Date,
): VerifiedTd {
  const { parsed, chain, platform } = verifySignatures(quote, root, time);
  const [leaf, ca] = chain;
  const revoked = verifyCrls(collateral, ca, root, time);
  if (revoked.byCa.revokedSerials.has(leaf.serial)) throw revokedCertificate(leaf);
  for (const certificate of [ca, root]) {
    if (revoked.byRoot.revokedSerials.has(certificate.serial)) throw revokedCertificate(certificate);
  }

  const { info, identity } = verifyDocuments(collateral, root, revoked.byRoot, time);
  if (!equalBytes(info.fmspc, platform.fmspc) || !equalBytes(info.pceId, platform.pceId)) {
    throw new VerificationError('collateral', 'the TCB info is for another kind of platform than the quote');
  }
  const qe = refuseAs('quote', 'the quote', () => judgeQe(identity, parsed.qeReport));
  if (isDebug(parsed.report)) {
    throw new VerificationError('debug', 'the TD runs in debug mode; its host can read its memory');
  }
  refuseAs('quote', 'the quote', () => checkTd(parsed.report));
  const verdict = refuseAs('tcb_status', 'the platform', () => judgeTcb(info, qe, platform, parsed.report));
  if (verdict.status === 'Revoked') {
    throw new VerificationError('tcb_status', 'the platform is revoked');
  }
  return {
    report: parsed.report,
    tcbStatus: verdict.status,
    advisoryIds: verdict.advisoryIds,
    ppid: platform.ppid,
  };
}

type PckPath = readonly [leaf: Certificate, ca: Certificate];

/**
 * Verifies what needs no collateral: the PCK chain and the signatures inside the quote.
 *
 * @throws VerificationError `quote`.
 */
export function verifySignatures(
  quote: Uint8Array,
  root: Certificate,
  time: Date,
): { parsed: TdxQuote; chain: PckPath; platform: PckPlatform } {
  const parsed = refuseAs('quote', 'the quote', () => parseQuote(quote));
  const chain = refuseAs('quote', 'the PCK certificate', () => {
    const [leaf, ca, ...more] = withoutRoot(chainOf(parsed), root);
    if (leaf === undefined || ca === undefined || more.length > 0) {
      throw new Error('the chain is not leaf and CA beneath the trusted root');
    }
    verifyPath([leaf, ca, root], time);
    return [leaf, ca] as const;
  });
  const refuse = (problem: string) => new VerificationError('quote', problem);
  if (!rawSignatureHolds(parsed.qeReport.bytes, parsed.qeReportSignature, chain[0].publicKey)) {
    throw refuse("the PCK did not sign the quoting enclave's report");
  }
  const bound = createHash('sha256').update(parsed.attestationKey).update(parsed.qeAuthData).digest();
  if (!reportsDigest(parsed.qeReport, bound)) {
    throw refuse('the quoting enclave does not vouch for the attestation key');
  }
  const attestationKey = refuseAs('quote', 'the attestation key', () => p256Key(parsed.attestationKey));
  if (!rawSignatureHolds(parsed.signed, parsed.signature, attestationKey)) {
    throw refuse('the attestation key did not sign the quote');
  }
  return { parsed, chain, platform: refuseAs('quote', 'the PCK certificate', () => pckPlatform(chain[0])) };
}

function verifyCrls(
  collateral: Collateral,
  pckCa: Certificate,
  root: Certificate,
  time: Date,
): { byCa: RevocationList; byRoot: RevocationList } {
  return {
    byCa: refuseAs('collateral', 'the CRL of the PCK CA', () => verifyCrl(collateral.pckCrl, pckCa, time)),
    byRoot: refuseAs('collateral', 'the CRL of the root', () => verifyCrl(collateral.rootCaCrl, root, time)),
  };
}

function verifyDocuments(collateral: Collateral, root: Certificate, byRoot: RevocationList, time: Date) {
  verifySigned('TCB info', collateral.tcbInfo, collateral.tcbInfoSignature, collateral.tcbInfoIssuerChain);
  verifySigned(
    'QE identity',
    collateral.qeIdentity,
    collateral.qeIdentitySignature,
    collateral.qeIdentityIssuerChain,
  );
  const info = refuseAs('collateral', 'the TCB info', () => parseTcbInfo(collateral.tcbInfo));
  const identity = refuseAs('collateral', 'the QE identity', () => parseQeIdentity(collateral.qeIdentity));
  checkDates('TCB info', info);
  checkDates('QE identity', identity);
  return { info, identity };

  function verifySigned(what: string, text: string, signature: Uint8Array, issuerChain: string): void {
    refuseAs('collateral', `the signer of the ${what}`, () => {
      const certificates = certificatesOfPem(issuerChain).slice(0, MAX_CHAIN);
      const [signer, ...more] = withoutRoot(
        certificates.map((der) => new Certificate(der)),
        root,
      );
      if (signer === undefined || more.length > 0) throw new Error('the root did not certify it directly');
      verifyPath([signer, root], time);
      if (byRoot.revokedSerials.has(signer.serial)) throw revokedCertificate(signer);
      if (!rawSignatureHolds(Buffer.from(text, 'utf8'), signature, signer.publicKey)) {
        throw new Error(`it did not sign this ${what}`);
      }
    });
  }

  function checkDates(what: string, document: { issueDate: Date; nextUpdate: Date }): void {
    const { issueDate, nextUpdate } = document;
    if (time < issueDate) {
      throw new VerificationError('collateral', `the ${what} is valid from ${issueDate.toISOString()} only`);
    }
    if (time > nextUpdate) {
      throw new VerificationError('collateral', `the ${what} was valid until ${nextUpdate.toISOString()}`);
    }
  }
}

function chainOf(quote: TdxQuote): [Certificate, ...Certificate[]] {
  const [leaf, ...issuers] = quote.pckChain.slice(0, MAX_CHAIN).map((der) => new Certificate(der));
  if (leaf === undefined) throw new Error('it carries no PCK certificate');
  return [leaf, ...issuers];
}

/** The chain up to the root that is trusted; a copy of that root at its end may be left out. */
function withoutRoot(chain: readonly Certificate[], root: Certificate): readonly Certificate[] {
  const last = chain.at(-1);
  return last !== undefined && equalBytes(last.der, root.der) ? chain.slice(0, -1) : chain;
}

function revokedCertificate(certificate: Certificate): VerificationError {
  return new VerificationError(
    'collateral',
    `certificate ${JSON.stringify(certificate.subjectText)} is revoked`,
  );
}

/** Whether `signature` (r and s, 32 bytes each) by the P-256 key `key` is over SHA-256 of `message`. */
function rawSignatureHolds(message: Uint8Array, signature: Uint8Array, key: KeyObject): boolean {
  return (
    signature.length === 64 &&
    isP256(key) &&
    verifySignature('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature)
  );
}
