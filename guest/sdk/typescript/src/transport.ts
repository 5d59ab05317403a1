/** One JSON call over HTTP, with limits on time and size. */

import * as http from 'node:http';
import * as https from 'node:https';
import type { Endpoint } from './endpoint.js';
import { AgentError, AnswerError, reasonOf, TransportError } from './errors.js';

export interface Limits {
  /** Longest wait for a connection, milliseconds. */
  readonly connectTimeoutMs: number;
  /** Longest wait for the whole answer, milliseconds. */
  readonly timeoutMs: number;
  /** Longest answer that is read, bytes. */
  readonly maxAnswerBytes: number;
}

export const DEFAULT_LIMITS: Limits = {
  connectTimeoutMs: 3_000,
  timeoutMs: 30_000,
  maxAnswerBytes: 16 * 1024 * 1024,
};

/**
 * Posts `body` as JSON to `/<method>` and returns the decoded answer.
 *
 * @throws TransportError, AnswerError, or AgentError with the agent's own code.
 */
export async function callJson(
  endpoint: Endpoint,
  method: string,
  body: unknown,
  limits: Limits,
): Promise<unknown> {
  const { status, text } = await post(endpoint, method, JSON.stringify(body), limits);
  let answer: unknown;
  try {
    answer = text.trim() === '' ? null : JSON.parse(text);
  } catch {
    if (status !== 200) throw new TransportError(`${method}: status ${status}`);
    // Without the parser's own message: it quotes the answer, which may hold a key.
    throw new AnswerError(`${method}: the answer is not JSON`);
  }
  if (status === 200) return answer;
  const stated = readError(answer);
  if (stated === undefined) throw new TransportError(`${method}: status ${status}`);
  throw new AgentError(stated.code, stated.message, status);
}

function readError(answer: unknown): { code: string; message: string } | undefined {
  if (typeof answer !== 'object' || answer === null) return undefined;
  const { error, code } = answer as { error?: unknown; code?: unknown };
  if (typeof error !== 'string') return undefined;
  // Agents of dstack state no code.
  return { code: typeof code === 'string' ? code : 'error', message: error };
}

function post(
  endpoint: Endpoint,
  method: string,
  body: string,
  limits: Limits,
): Promise<{ status: number; text: string }> {
  const bytes = Buffer.from(body, 'utf8');
  const options: http.RequestOptions = {
    method: 'POST',
    agent: false,
    headers: {
      'content-type': 'application/json',
      'content-length': bytes.length,
      accept: 'application/json',
    },
  };
  return new Promise((resolve, reject) => {
    const fail = (reason: string, cause?: unknown) =>
      reject(new TransportError(`${method}: ${reason}`, cause === undefined ? undefined : { cause }));
    const request = start(endpoint, method, options);

    const connecting = setTimeout(() => {
      fail(`no connection within ${limits.connectTimeoutMs} ms`);
      request.destroy();
    }, limits.connectTimeoutMs);
    const overall = setTimeout(() => {
      fail(`no whole answer within ${limits.timeoutMs} ms`);
      request.destroy();
    }, limits.timeoutMs);
    const connected = () => clearTimeout(connecting);
    request.on('socket', (socket) => {
      socket.once(
        endpoint.kind === 'url' && endpoint.url.protocol === 'https:' ? 'secureConnect' : 'connect',
        connected,
      );
    });
    request.on('close', () => {
      clearTimeout(connecting);
      clearTimeout(overall);
      // Settles nothing when an answer or an error came before.
      fail('the connection closed before the answer was whole');
    });
    request.on('error', (error) => fail(reasonOf(error), error));
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > limits.maxAnswerBytes) {
          reject(new AnswerError(`${method}: the answer exceeds ${limits.maxAnswerBytes} bytes`));
          request.destroy();
          return;
        }
        chunks.push(chunk);
      });
      response.on('error', (error) => fail(reasonOf(error), error));
      response.on('end', () => {
        if (!response.complete) {
          fail('the answer was cut off');
          return;
        }
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') });
      });
    });
    request.end(bytes);
  });
}

function start(endpoint: Endpoint, method: string, options: http.RequestOptions): http.ClientRequest {
  if (endpoint.kind === 'unix') {
    const headers = { ...options.headers, host: 'localhost' };
    return http.request({ ...options, headers, socketPath: endpoint.path, path: `/${method}` });
  }
  const url = new URL(endpoint.url);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${method}`;
  url.hash = '';
  return (url.protocol === 'https:' ? https : http).request(url, options);
}
