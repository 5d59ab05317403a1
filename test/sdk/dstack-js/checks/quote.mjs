// Where a TDX v4 quote keeps what these checks read.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';

// Version 4, ECDSA P-256, TEE type TDX: how every quote of this kind starts.
const HEADER = Buffer.from('0400020081000000', 'hex');

/** Registers and report data of a quote. */
export function parse(raw) {
  assert.ok(raw.subarray(0, 8).equals(HEADER), 'the quote is TDX version 4');
  assert.ok(raw.length > 632, 'the quote is whole');
  const at = (start, length) => raw.subarray(start, start + length);
  return {
    mrtd: at(184, 48),
    config: at(232, 144),
    rtmrs: [0, 1, 2, 3].map((index) => at(376 + 48 * index, 48)),
    reportData: at(568, 64),
  };
}

/** The quote inside a versioned attestation of the first form (SCALE). */
export function within(evidence) {
  assert.equal(evidence.readUInt16BE(0), 0, 'the attestation is version 0, TDX');
  const start = evidence.indexOf(HEADER);
  assert.ok(start > 2 && start <= 6, 'the attestation starts with the quote');
  return parse(evidence.subarray(start));
}

/** The aggregated measurement of a machine with this RTMR3. */
export function aggregated(quote, rtmr3) {
  const hash = createHash('sha256').update(quote.mrtd);
  for (const register of [...quote.rtmrs.slice(0, 3), rtmr3]) hash.update(register);
  if (quote.config.some((byte) => byte !== 0)) hash.update(quote.config);
  return hash.digest('hex');
}
