/** X.509 certificates, parsed once and strictly. */

import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { AsnConvert } from '@peculiar/asn1-schema';
import {
  BasicConstraints,
  Certificate as CertificateSchema,
  id_ce_basicConstraints,
  id_ce_keyUsage,
  KeyUsage,
  KeyUsageFlags,
  type Name,
} from '@peculiar/asn1-x509';
import { base64 } from '@scure/base';
import { fromUtf8, toHex } from '../bytes.js';
import { parseDer } from './der.js';

/** ECDSA with SHA-256, the one algorithm of Intel's and of KMS certificates. */
export const ECDSA_SHA256 = '1.2.840.10045.4.3.2';

/** One extension. */
export interface CertificateExtension {
  readonly oid: string;
  readonly critical: boolean;
  /** Content of extnValue. */
  readonly value: Uint8Array;
}

/** A parsed certificate. Nothing about it is verified. */
export class Certificate {
  readonly der: Uint8Array;
  /** DER of the names, for comparison. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** Text of the names, for people. */
  readonly issuerText: string;
  readonly subjectText: string;
  /** Hexadecimal. */
  readonly serial: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly publicKey: KeyObject;
  readonly extensions: readonly CertificateExtension[];
  readonly #signed: Uint8Array;
  readonly #signatureAlgorithms: readonly string[];
  readonly #signature: Uint8Array;

  /** @throws Error saying what is malformed; also when an extension appears twice. */
  constructor(der: Uint8Array) {
    const {
      tbsCertificate: tbs,
      tbsCertificateRaw,
      signatureAlgorithm,
      signatureValue,
    } = parseDer(der, CertificateSchema);
    if (tbsCertificateRaw === undefined) throw new Error('it has no signed part');
    this.der = der;
    this.issuer = new Uint8Array(AsnConvert.serialize(tbs.issuer));
    this.subject = new Uint8Array(AsnConvert.serialize(tbs.subject));
    this.issuerText = textOfName(tbs.issuer);
    this.subjectText = textOfName(tbs.subject);
    this.serial = normalSerial(tbs.serialNumber);
    this.notBefore = tbs.validity.notBefore.getTime();
    this.notAfter = tbs.validity.notAfter.getTime();
    this.spki = new Uint8Array(AsnConvert.serialize(tbs.subjectPublicKeyInfo));
    this.publicKey = createPublicKey({ key: Buffer.from(this.spki), format: 'der', type: 'spki' });
    this.#signed = new Uint8Array(tbsCertificateRaw);
    this.#signatureAlgorithms = [tbs.signature.algorithm, signatureAlgorithm.algorithm];
    this.#signature = new Uint8Array(signatureValue);
    this.extensions = (tbs.extensions ?? []).map((extension) => ({
      oid: extension.extnID,
      critical: extension.critical,
      value: new Uint8Array(extension.extnValue.buffer),
    }));
    const oids = this.extensions.map(({ oid }) => oid);
    const twice = oids.find((oid, index) => oids.indexOf(oid) !== index);
    if (twice !== undefined) throw new Error(`extension ${twice} appears twice`);
  }

  /** Whether `key`, on P-256, signed it with ECDSA and SHA-256. */
  isSignedBy(key: KeyObject): boolean {
    return (
      this.#signatureAlgorithms.every((algorithm) => algorithm === ECDSA_SHA256) &&
      isP256(key) &&
      verify('sha256', this.#signed, key, this.#signature)
    );
  }

  /** Content of the extension `oid`. */
  extension(oid: string): Uint8Array | undefined {
    return this.extensions.find((extension) => extension.oid === oid)?.value;
  }

  /** Whether it may issue certificates, and how many CAs may follow beneath it. */
  get authority(): { readonly pathLength: number } | undefined {
    const value = this.extension(id_ce_basicConstraints);
    if (value === undefined) return undefined;
    const constraints = parseDer(value, BasicConstraints);
    return constraints.cA
      ? { pathLength: constraints.pathLenConstraint ?? Number.POSITIVE_INFINITY }
      : undefined;
  }

  /** Whether its key may be used for `flag`; without the extension, for everything. */
  allows(flag: keyof typeof KeyUsageFlags): boolean {
    const value = this.extension(id_ce_keyUsage);
    return value === undefined || (parseDer(value, KeyUsage).toNumber() & KeyUsageFlags[flag]) !== 0;
  }
}

/** Whether `key` is on NIST's curve P-256. */
export function isP256(key: KeyObject): boolean {
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1';
}

const ATTRIBUTES: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
};

/** E.g. `CN=Dstack App CA, O=Dstack`. For people: values are not escaped. */
function textOfName(name: Name): string {
  return name
    .flatMap((attributes) => [...attributes])
    .map(({ type, value }) => `${ATTRIBUTES[type] ?? type}=${value.toString()}`)
    .join(', ');
}

/** Serial numbers without leading zeros. */
export function normalSerial(serial: ArrayBuffer): string {
  return toHex(new Uint8Array(serial)).replace(/^(00)+(?=..)/, '');
}

/** DER of each certificate in a PEM text. */
export function certificatesOfPem(pem: string): Uint8Array[] {
  const blocks = pem.matchAll(/-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/g);
  return [...blocks].map((block) => base64.decode((block[1] ?? '').replace(/\s+/g, '')));
}

/** The one certificate in `bytes`, which are PEM or DER. */
export function certificateOf(bytes: Uint8Array | string): Certificate {
  const pem = typeof bytes === 'string' ? bytes : startsAsPem(bytes) ? fromUtf8(bytes) : undefined;
  if (pem === undefined) return new Certificate(bytes as Uint8Array);
  const [der, ...more] = certificatesOfPem(pem);
  if (der === undefined) throw new Error('the PEM holds no certificate');
  if (more.length > 0) throw new Error(`the PEM holds ${more.length + 1} certificates, not 1`);
  return new Certificate(der);
}

function startsAsPem(bytes: Uint8Array): boolean {
  // A DER certificate begins with 0x30, the digit 0: no PEM does.
  return bytes.length > 0 && bytes[0] !== 0x30;
}
