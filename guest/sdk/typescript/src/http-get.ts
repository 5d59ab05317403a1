/** Plain HTTP answers from servers that are not believed, with limits on time and size. */

import { reasonOf, TransportError } from './errors.js';

export interface PlainAnswer {
  readonly headers: Headers;
  readonly body: Uint8Array;
}

/**
 * Fetches `url`; any status but 200 is an error.
 *
 * @throws TransportError.
 */
export async function fetchLimited(
  url: string,
  init: RequestInit,
  limits: { readonly timeoutMs: number; readonly maxBytes: number },
): Promise<PlainAnswer> {
  try {
    const answer = await fetch(url, { ...init, signal: AbortSignal.timeout(limits.timeoutMs) });
    if (answer.status !== 200) {
      await answer.body?.cancel();
      throw new TransportError(`status ${answer.status}`);
    }
    return { headers: answer.headers, body: await readLimited(answer, limits.maxBytes) };
  } catch (error) {
    throw new TransportError(`${withoutQuery(url)}: ${causeOf(error)}`, { cause: error });
  }
}

async function readLimited(answer: Response, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of answer.body ?? []) {
    length += chunk.length;
    if (length > maxBytes) throw new TransportError(`the answer exceeds ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** URLs of RPC services carry keys in their query, sometimes in their path: only the host prints. */
function withoutQuery(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : 'the URL';
}

/** fetch's own sentence is "fetch failed"; the reason is beneath. */
function causeOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && !(error instanceof TransportError) ? reasonOf(cause) : reasonOf(error);
}
