import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { InputError } from './errors.js';

/** Bytes, or hexadecimal text with or without `0x`. */
export type BytesLike = Uint8Array | string;

/** Lower-case hexadecimal without `0x`. */
export function toHex(bytes: Uint8Array): string {
  return bytesToHex(bytes);
}

/** Bytes of `value`; `what` names it in errors. With `length`, exactly that many. */
export function toBytes(value: BytesLike, what: string, length?: number): Uint8Array {
  const bytes = typeof value === 'string' ? parseHex(value, what) : value;
  if (!(bytes instanceof Uint8Array)) {
    throw new InputError(`${what} must be a Uint8Array or hexadecimal text`);
  }
  if (length !== undefined && bytes.length !== length) {
    throw new InputError(`${what} must be ${length} bytes, not ${bytes.length}`);
  }
  return bytes;
}

/** Lower-case hexadecimal of `value`, checked as by {@link toBytes}. */
export function normalHex(value: BytesLike, what: string, length?: number): string {
  return toHex(toBytes(value, what, length));
}

function parseHex(text: string, what: string): Uint8Array {
  const digits = text.startsWith('0x') ? text.slice(2) : text;
  try {
    return hexToBytes(digits);
  } catch {
    // The library's own message repeats the text, which may be a secret.
    throw new InputError(`${what} is not hexadecimal text of whole bytes`);
  }
}

/** Whether two byte strings are the same; for public values. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

/** Whether every byte is zero. */
export function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

const encoder = new TextEncoder();

/** UTF-8 of `text`. */
export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** `text` as UTF-8; throws a TypeError for bytes that are not. */
export function fromUtf8(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
}
