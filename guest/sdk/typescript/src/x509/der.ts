/** DER by way of asn1js, with nothing left over. */

import { AsnConvert } from '@peculiar/asn1-schema';
import * as asn1js from 'asn1js';

/** One ASN.1 value that is the whole of `der`. */
export function decodeDer(der: Uint8Array): asn1js.BaseBlock {
  const { offset, result } = asn1js.fromBER(copy(der));
  if (offset === -1 || result.error !== '') {
    throw new Error(`not DER${result.error === '' ? '' : `: ${result.error}`}`);
  }
  if (offset !== der.length) throw new Error(`${der.length - offset} bytes follow the DER value`);
  return result as asn1js.BaseBlock;
}

/** `der` as the schema class `type`. */
export function parseDer<T>(der: Uint8Array, type: new () => T): T {
  decodeDer(der);
  return AsnConvert.parse(copy(der), type);
}

/** The content of `der`, which must be one OCTET STRING. */
export function octetString(der: Uint8Array): Uint8Array {
  const value = decodeDer(der);
  if (!(value instanceof asn1js.OctetString) || value.idBlock.isConstructed) {
    throw new Error('not an OCTET STRING');
  }
  return new Uint8Array(value.valueBlock.valueHexView);
}

/** Views into larger buffers confuse the library: it takes a buffer of its own. */
function copy(der: Uint8Array): ArrayBuffer {
  return new Uint8Array(der).buffer;
}
