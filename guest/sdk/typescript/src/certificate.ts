/** Certificates that carry evidence (RA-TLS). */

import { type Appraisal, checkKeyProvider, type EvidenceExpectations } from './appraisal.js';
import { equalBytes, fromUtf8, toHex } from './bytes.js';
import type { Collateral } from './collateral.js';
import { refuseAs, VerificationError } from './errors.js';
import { parseAttestation, quoteWithLog, type TdxEvidence } from './evidence/evidence.js';
import type { KmsRoot } from './kms-root.js';
import type { Verifier } from './verifier.js';
import { Certificate, certificatesOfPem } from './x509/certificate.js';
import { octetString } from './x509/der.js';
import { verifyPath } from './x509/path.js';

const ARC = '1.3.6.1.4.1.62397.1';
const OID_QUOTE = `${ARC}.1`;
const OID_EVENT_LOG = `${ARC}.2`;
const OID_APP_ID = `${ARC}.3`;
const OID_USAGE = `${ARC}.4`;
const OID_ATTESTATION = `${ARC}.8`;

const USAGE_APP_CA = 'app:ca';

/** PEM text of one or more certificates, a list of PEM texts, or a list of DER; the leaf first. */
export type ChainInput = string | readonly (string | Uint8Array)[];

/** What a verified certificate says. */
export interface CertificateAppraisal extends Appraisal {
  /** The subject of the leaf, one attribute per comma. */
  readonly subject: string;
  /** DER SubjectPublicKeyInfo of the leaf, to which the evidence is bound. */
  readonly publicKey: Uint8Array;
  /** E.g. `app:custom`; empty when the certificate says none. */
  readonly usage: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** What a certificate's evidence must say. Whom it was made for, the certificate's key, is always checked. */
export type CertificateExpectations = Omit<EvidenceExpectations, 'tlsKey'>;

/** The part of a {@link KmsRoot} that certificates need. */
export type CertificateRoot = Pick<KmsRoot, 'caSpki'>;

/**
 * Verifies the evidence in a certificate, that it was made for the certificate's key and, with
 * `root`, that the KMS behind `root` issued the certificate to this app.
 *
 * @param root from `fetchKmsRoot`; null leaves the chain alone and believes the evidence only.
 * @throws VerificationError naming the rule that failed.
 */
export async function verifyCertificate(
  verifier: Verifier,
  chain: ChainInput,
  root: CertificateRoot | null,
  expect: CertificateExpectations = {},
): Promise<CertificateAppraisal> {
  const claim = readChain(chain);
  return concludeWith(verifier, await verifier.collateralFor(claim.evidence), claim, root, expect);
}

/** As {@link verifyCertificate}, with collateral that was fetched before; without waiting for anything. */
export function verifyCertificateWith(
  verifier: Verifier,
  collateral: Collateral,
  chain: ChainInput,
  root: CertificateRoot | null,
  expect: CertificateExpectations = {},
): CertificateAppraisal {
  return concludeWith(verifier, collateral, readChain(chain), root, expect);
}

/** A chain, parsed; nothing is verified. */
interface ChainClaim {
  readonly leaf: Certificate;
  readonly issuers: readonly Certificate[];
  readonly evidence: TdxEvidence;
  readonly appId: string | undefined;
  readonly usage: string;
}

/** The evidence inside the first certificate of `chain`, parsed but not verified. */
export function evidenceOfCertificate(chain: ChainInput): TdxEvidence {
  return readChain(chain).evidence;
}

/** A TLS handshake may carry more, but nothing here needs them. */
const MAX_CHAIN = 8;

function readChain(chain: ChainInput): ChainClaim {
  const [leaf, ...issuers] = refuseAs('encoding', 'the certificate', () => {
    const ders = typeof chain === 'string' ? certificatesOfPem(chain) : chain.flatMap(dersOf);
    if (ders.length === 0) throw new Error('there is none');
    if (ders.length > MAX_CHAIN) throw new Error(`the chain has ${ders.length}; the limit is ${MAX_CHAIN}`);
    return ders.map((der) => new Certificate(der));
  });
  if (leaf === undefined) throw new VerificationError('encoding', 'the chain is empty');
  const appId = content(leaf, OID_APP_ID);
  if (appId !== undefined && appId.length !== 20) {
    throw new VerificationError('encoding', `the certificate's app id has ${appId.length} bytes, not 20`);
  }
  return {
    leaf,
    issuers,
    evidence: evidenceOf(leaf),
    appId: appId === undefined ? undefined : toHex(appId),
    usage: textContent(leaf, OID_USAGE) ?? '',
  };
}

function dersOf(certificate: string | Uint8Array): Uint8Array[] {
  return typeof certificate === 'string' ? certificatesOfPem(certificate) : [certificate];
}

/** The current extension, else quote and event log of the older generation. */
function evidenceOf(leaf: Certificate): TdxEvidence {
  const attestation = content(leaf, OID_ATTESTATION);
  if (attestation !== undefined) return parseAttestation(attestation);
  const quote = content(leaf, OID_QUOTE);
  if (quote === undefined) throw new VerificationError('encoding', 'the certificate carries no evidence');
  return quoteWithLog(quote, textContent(leaf, OID_EVENT_LOG) ?? '');
}

/** Content of one of our extensions: an OCTET STRING inside the extension's value. */
function content(certificate: Certificate, oid: string): Uint8Array | undefined {
  const value = certificate.extension(oid);
  return value === undefined
    ? undefined
    : refuseAs('encoding', `certificate extension ${oid}`, () => octetString(value));
}

function textContent(certificate: Certificate, oid: string): string | undefined {
  const bytes = content(certificate, oid);
  return bytes === undefined
    ? undefined
    : refuseAs('encoding', `certificate extension ${oid}`, () => fromUtf8(bytes));
}

function concludeWith(
  verifier: Verifier,
  collateral: Collateral,
  claim: ChainClaim,
  root: CertificateRoot | null,
  expect: CertificateExpectations,
): CertificateAppraisal {
  const { leaf } = claim;
  const appraisal = verifier.verifyWith(collateral, claim.evidence, { ...expect, tlsKey: leaf.spki });
  if (claim.appId !== undefined && claim.appId !== appraisal.appId) {
    throw new VerificationError(
      'app_id',
      `the certificate is for app ${claim.appId}, the measured app is ${appraisal.appId}`,
    );
  }
  if (root !== null) {
    refuseAs('chain', 'the certificate chain', () => verifyChain(claim, appraisal, root, verifier.now()));
    checkKeyProvider(appraisal, root.caSpki);
  }
  return {
    ...appraisal,
    subject: leaf.subjectText,
    publicKey: leaf.spki,
    usage: claim.usage,
    notBefore: leaf.notBefore,
    notAfter: leaf.notAfter,
  };
}

/** Leaf, app CA and root CA, each issued by the next; the root is the KMS's, the CA is the app's. */
function verifyChain(claim: ChainClaim, appraisal: Appraisal, root: CertificateRoot, time: Date): void {
  const [appCa, rootCa, ...more] = claim.issuers;
  if (appCa === undefined || rootCa === undefined || more.length > 0) {
    throw new Error(`it has ${claim.issuers.length + 1} certificates, not leaf, app CA and root CA`);
  }
  if (!equalBytes(rootCa.spki, root.caSpki)) throw new Error('its root CA is not the one of the KMS');
  verifyPath([claim.leaf, appCa, rootCa], time);
  const usage = textContent(appCa, OID_USAGE);
  if (usage !== USAGE_APP_CA) {
    throw new Error(`the issuer's usage is ${JSON.stringify(usage ?? '')}, not "${USAGE_APP_CA}"`);
  }
  const caAppId = content(appCa, OID_APP_ID);
  if (caAppId !== undefined && toHex(caAppId) !== appraisal.appId) {
    throw new Error(`the issuer is the CA of app ${toHex(caAppId)}, not of ${appraisal.appId}`);
  }
}
