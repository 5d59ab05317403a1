/** What a PCK certificate says about its platform. */

import * as asn1js from 'asn1js';
import type { Certificate } from '../x509/certificate.js';
import { decodeDer } from '../x509/der.js';

const SGX_EXTENSIONS = '1.2.840.113741.1.13.1';
const PPID = `${SGX_EXTENSIONS}.1`;
const TCB = `${SGX_EXTENSIONS}.2`;
const PCE_SVN = `${TCB}.17`;
const CPU_SVN = `${TCB}.18`;
const PCE_ID = `${SGX_EXTENSIONS}.3`;
const FMSPC = `${SGX_EXTENSIONS}.4`;

/** Intel's extension, as far as it is judged. */
export interface PckPlatform {
  readonly ppid: Uint8Array;
  readonly cpuSvn: Uint8Array;
  readonly pceSvn: number;
  readonly pceId: Uint8Array;
  readonly fmspc: Uint8Array;
}

/** @throws Error when the extension is missing or malformed. */
export function pckPlatform(certificate: Certificate): PckPlatform {
  const extension = certificate.extension(SGX_EXTENSIONS);
  if (extension === undefined) throw new Error('the PCK certificate lacks the SGX extensions');
  const fields = members(decodeDer(extension));
  const tcb = members(member(fields, TCB));
  return {
    ppid: octets(fields, PPID, 16),
    cpuSvn: octets(tcb, CPU_SVN, 16),
    pceSvn: smallInteger(tcb, PCE_SVN),
    pceId: octets(fields, PCE_ID, 2),
    fmspc: octets(fields, FMSPC, 6),
  };
}

/** Which of Intel's two PCK CAs issued it: the query parameter `ca` of the PCS. */
export function pckCa(certificate: Certificate): 'processor' | 'platform' {
  return certificate.issuerText.includes('Platform') ? 'platform' : 'processor';
}

function members(sequence: asn1js.BaseBlock): Map<string, asn1js.BaseBlock> {
  if (!(sequence instanceof asn1js.Sequence)) throw new Error('an SGX extension is not a SEQUENCE');
  const found = new Map<string, asn1js.BaseBlock>();
  for (const entry of sequence.valueBlock.value) {
    const [oid, value] = entry instanceof asn1js.Sequence ? entry.valueBlock.value : [];
    if (!(oid instanceof asn1js.ObjectIdentifier) || value === undefined) {
      throw new Error('an SGX extension is not a pair of OID and value');
    }
    const name = oid.getValue();
    if (found.has(name)) throw new Error(`SGX extension ${name} appears twice`);
    found.set(name, value as asn1js.BaseBlock);
  }
  return found;
}

function member(fields: Map<string, asn1js.BaseBlock>, oid: string): asn1js.BaseBlock {
  const value = fields.get(oid);
  if (value === undefined) throw new Error(`SGX extension ${oid} is missing`);
  return value;
}

function octets(fields: Map<string, asn1js.BaseBlock>, oid: string, length: number): Uint8Array {
  const value = member(fields, oid);
  if (!(value instanceof asn1js.OctetString) || value.valueBlock.valueHexView.length !== length) {
    throw new Error(`SGX extension ${oid} is not an OCTET STRING of ${length} bytes`);
  }
  return new Uint8Array(value.valueBlock.valueHexView);
}

function smallInteger(fields: Map<string, asn1js.BaseBlock>, oid: string): number {
  const value = member(fields, oid);
  const number = value instanceof asn1js.Integer ? value.toBigInt() : -1n;
  if (number < 0n || number > 0xffffn) throw new Error(`SGX extension ${oid} is not a number of 16 bits`);
  return Number(number);
}
