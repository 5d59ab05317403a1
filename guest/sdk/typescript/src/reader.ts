/** Reads fixed layouts; every read is checked. */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  /** The next `length` bytes, `what` names them in errors. */
  take(length: number, what: string): Uint8Array {
    if (length > this.remaining) {
      throw new Error(`${what} needs ${length} bytes; ${this.remaining} are left`);
    }
    const start = this.#offset;
    this.#offset += length;
    return this.#bytes.slice(start, this.#offset);
  }

  u8(what: string): number {
    return this.#view.getUint8(this.#advance(1, what));
  }

  u16(what: string): number {
    return this.#view.getUint16(this.#advance(2, what), true);
  }

  u32(what: string): number {
    return this.#view.getUint32(this.#advance(4, what), true);
  }

  /** Refuses anything that is left. */
  end(what: string): void {
    if (this.remaining !== 0) throw new Error(`${this.remaining} bytes follow ${what}`);
  }

  #advance(length: number, what: string): number {
    if (length > this.remaining) throw new Error(`${what} needs ${length} bytes; ${this.remaining} are left`);
    const start = this.#offset;
    this.#offset += length;
    return start;
  }
}
