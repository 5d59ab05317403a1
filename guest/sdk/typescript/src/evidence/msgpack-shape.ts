/** A look at the shape of a MessagePack value before it is decoded. */

import { Reader } from '../reader.js';

/** Evidence nests half as deep. */
const MAX_DEPTH = 12;

/** Bytes that follow the type byte, for numbers. */
const NUMBER_LENGTHS: Readonly<Record<number, number>> = {
  202: 4,
  203: 8,
  204: 1,
  205: 2,
  206: 4,
  207: 8,
  208: 1,
  209: 2,
  210: 4,
  211: 8,
};

/**
 * Refuses a value that is not whole, or nests deeper than evidence does.
 *
 * The decoder allocates each array as long as it claims to be: a few bytes a level would take all
 * memory. After this look, every element that is claimed is known to be there.
 */
export function checkShape(bytes: Uint8Array): void {
  const reader = new Reader(bytes);
  // How many values are still to come at each level.
  const open = [1];
  while (open.length > 0) {
    const level = open.length - 1;
    const left = open[level] ?? 0;
    if (left === 0) {
      open.pop();
      continue;
    }
    open[level] = left - 1;
    const values = skipHead(reader);
    if (values > reader.remaining) throw new Error('a list claims more than there is');
    if (values > 0) open.push(values);
    if (open.length > MAX_DEPTH) throw new Error(`it nests deeper than ${MAX_DEPTH} levels`);
  }
  reader.end('the value');
}

/** Skips one value, or the head of a list or map; returns how many values that holds. */
function skipHead(reader: Reader): number {
  const type = reader.u8('a value');
  const number = NUMBER_LENGTHS[type];
  if (type <= 0x7f || type >= 0xe0 || type === 0xc0 || type === 0xc2 || type === 0xc3) return 0;
  if (number !== undefined) return skip(reader, number);
  if (type <= 0x8f) return 2 * (type & 0x0f);
  if (type <= 0x9f) return type & 0x0f;
  if (type <= 0xbf) return skip(reader, type & 0x1f);
  switch (type) {
    case 0xc4:
    case 0xd9:
      return skip(reader, lengthOf(reader, 1));
    case 0xc5:
    case 0xda:
      return skip(reader, lengthOf(reader, 2));
    case 0xc6:
    case 0xdb:
      return skip(reader, lengthOf(reader, 4));
    case 0xdc:
      return lengthOf(reader, 2);
    case 0xdd:
      return lengthOf(reader, 4);
    case 0xde:
      return 2 * lengthOf(reader, 2);
    case 0xdf:
      return 2 * lengthOf(reader, 4);
    default:
      throw new Error(`type 0x${type.toString(16)} has no place here`);
  }
}

function skip(reader: Reader, length: number): number {
  reader.take(length, 'a value');
  return 0;
}

/** A big-endian number of 1, 2 or 4 bytes. */
function lengthOf(reader: Reader, bytes: number): number {
  return reader.take(bytes, 'a length').reduce((length, byte) => length * 256 + byte, 0);
}
