/** The hash of an app-compose document as tools of dstack compute it. */

import { sha256 } from '@noble/hashes/sha2.js';
import { toHex, utf8 } from './bytes.js';
import { InputError, reasonOf } from './errors.js';

/** Options of {@link composeHash}. */
export interface ComposeHashOptions {
  /** Drops what the runner does not read: see the reference of dstack. Default false. */
  readonly normalize?: boolean;
}

/**
 * SHA-256, in hexadecimal, of the canonical form of an app-compose document.
 *
 * The platform itself hashes the bytes of the file as deployed: the two agree when the file is in
 * canonical form ({@link canonicalCompose}), so deploy that.
 */
export function composeHash(compose: object | string, options: ComposeHashOptions = {}): string {
  return toHex(sha256(utf8(canonicalCompose(compose, options))));
}

/** The document as compact JSON with keys in order of their code points; NaN and Infinity become null. */
export function canonicalCompose(compose: object | string, options: ComposeHashOptions = {}): string {
  const document: unknown = typeof compose === 'string' ? parse(compose) : compose;
  if (typeof document !== 'object' || document === null || Array.isArray(document)) {
    throw new InputError('an app-compose document is a JSON object');
  }
  const members = document as Record<string, unknown>;
  return write(options.normalize === true ? normalized(members) : members);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InputError(`the app-compose document is not JSON: ${reasonOf(error)}`);
  }
}

function normalized(compose: Record<string, unknown>): Record<string, unknown> {
  const unread = new Set<string>();
  if (compose.runner === 'bash') unread.add('docker_compose_file');
  if (compose.runner === 'docker-compose') unread.add('bash_script');
  if (compose.pre_launch_script === '') unread.add('pre_launch_script');
  return Object.fromEntries(Object.entries(compose).filter(([name]) => !unread.has(name)));
}

function write(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(write).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    // Not left to JSON.stringify: it would put names that look like numbers first.
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => byCodePoint(a, b));
    return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${write(member)}`).join(',')}}`;
  }
  if (
    value === null ||
    typeof value === 'string' ||
    typeof value === 'boolean' ||
    typeof value === 'number'
  ) {
    return JSON.stringify(value);
  }
  throw new InputError(`a value of type ${typeof value} has no place in an app-compose document`);
}

/** JavaScript's own order is by UTF-16 units, which puts letters beyond U+FFFF too early. */
function byCodePoint(a: string, b: string): number {
  const left = [...a];
  const right = [...b];
  for (const [index, letter] of left.entries()) {
    const other = right[index];
    if (other === undefined) return 1;
    const difference = (letter.codePointAt(0) ?? 0) - (other.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
