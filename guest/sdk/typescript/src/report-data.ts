/** What report data says, by use. */

import { sha512 } from '@noble/hashes/sha2.js';
import { concatBytes } from '@noble/hashes/utils.js';
import { utf8 } from './bytes.js';

/** Report data of evidence for the TLS key with this DER SubjectPublicKeyInfo. */
export function reportDataForTlsKey(spkiDer: Uint8Array): Uint8Array {
  return tagged('ratls-cert', spkiDer);
}

/** Report data of a pod's evidence, for its payload. */
export function reportDataForPayload(payload: string): Uint8Array {
  return tagged('app-data', utf8(payload));
}

function tagged(tag: string, content: Uint8Array): Uint8Array {
  return sha512(concatBytes(utf8(`${tag}:`), content));
}
