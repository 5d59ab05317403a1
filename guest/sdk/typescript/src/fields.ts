/** Reads the members of a decoded JSON or MessagePack value; each error names the member. */

import { hexToBytes } from '@noble/hashes/utils.js';

/** A member is missing or of another type. */
export class FieldError extends Error {
  constructor(path: string, problem: string) {
    super(`${path} ${problem}`);
    this.name = 'FieldError';
  }
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (value instanceof Uint8Array) return 'bytes';
  return `of type ${typeof value}`;
}

/** One value with the path that leads to it. */
export class Field {
  readonly value: unknown;
  readonly path: string;

  constructor(value: unknown, path: string) {
    this.value = value;
    this.path = path;
  }

  /** The member `name`, which must be there. */
  get(name: string): Field {
    const found = this.find(name);
    if (found === undefined) throw new FieldError(this.memberPath(name), 'is missing');
    return found;
  }

  /** The member `name`, or undefined where there is none. */
  find(name: string): Field | undefined {
    const object = this.object();
    return Object.hasOwn(object, name) ? new Field(object[name], this.memberPath(name)) : undefined;
  }

  object(): Record<string, unknown> {
    const value = this.value;
    if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array) {
      throw this.not('an object');
    }
    return value as Record<string, unknown>;
  }

  /** As {@link object}, with no members but `names`. */
  onlyMembers(...names: string[]): this {
    const other = Object.keys(this.object()).find((name) => !names.includes(name));
    if (other !== undefined) throw new FieldError(this.memberPath(other), 'is not known');
    return this;
  }

  list(): Field[] {
    if (!Array.isArray(this.value)) throw this.not('an array');
    return this.value.map((value: unknown, index) => new Field(value, `${this.path}[${index}]`));
  }

  string(): string {
    if (typeof this.value !== 'string') throw this.not('a string');
    return this.value;
  }

  boolean(): boolean {
    if (typeof this.value !== 'boolean') throw this.not('true or false');
    return this.value;
  }

  /** A whole number from 0 to `max`. */
  integer(max: number = Number.MAX_SAFE_INTEGER): number {
    const value = this.value;
    if (typeof value !== 'number' || !Number.isInteger(value)) throw this.not('a whole number');
    if (value < 0 || value > max) throw new FieldError(this.path, `is ${value}, not within 0 to ${max}`);
    return value;
  }

  /** Hexadecimal text. With `length`, of exactly that many bytes. */
  hex(length?: number): Uint8Array {
    const text = this.string();
    let bytes: Uint8Array;
    try {
      bytes = hexToBytes(text.startsWith('0x') ? text.slice(2) : text);
    } catch {
      throw new FieldError(this.path, 'is not hexadecimal text of whole bytes');
    }
    return this.sized(bytes, length);
  }

  /** A byte string (MessagePack `bin`). */
  bytes(length?: number): Uint8Array {
    if (!(this.value instanceof Uint8Array)) throw this.not('bytes');
    return this.sized(this.value, length);
  }

  /** An array of numbers from 0 to 255. */
  byteList(length?: number): Uint8Array {
    if (!Array.isArray(this.value)) throw this.not('an array of bytes');
    if (!this.value.every((byte) => Number.isInteger(byte) && byte >= 0 && byte <= 255)) {
      throw new FieldError(this.path, 'holds something that is not a byte');
    }
    return this.sized(Uint8Array.from(this.value as number[]), length);
  }

  private sized(bytes: Uint8Array, length: number | undefined): Uint8Array {
    if (length !== undefined && bytes.length !== length) {
      throw new FieldError(this.path, `is ${bytes.length} bytes, not ${length}`);
    }
    return bytes;
  }

  private not(wanted: string): FieldError {
    return new FieldError(this.path, `is ${describe(this.value)}, not ${wanted}`);
  }

  private memberPath(name: string): string {
    return this.path === '' ? name : `${this.path}.${name}`;
  }
}
