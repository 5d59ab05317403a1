/** The vectors that every SDK passes; a missing file fails the test. */

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function vectorsFolder(): string {
  for (
    let folder = dirname(fileURLToPath(import.meta.url));
    folder !== dirname(folder);
    folder = dirname(folder)
  ) {
    const found = join(folder, 'test', 'vectors');
    if (existsSync(join(found, 'sdk'))) return found;
  }
  throw new Error('test/vectors/sdk is not above this file');
}

/** Path of a file beneath test/vectors. */
export function vectorPath(name: string): string {
  return join(vectorsFolder(), name);
}

/** A JSON file of test/vectors/sdk. */
export function sdkVectors<T>(name: string): T {
  return JSON.parse(readFileSync(vectorPath(join('sdk', name)), 'utf8')) as T;
}

/** Bytes of hexadecimal text. */
export function bytes(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'));
}
