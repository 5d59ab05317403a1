/** A server in place of the agent, which answers what a test wants. */

import { mkdtempSync, rmSync } from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** What it was asked. */
export interface Asked {
  path: string;
  headers: http.IncomingHttpHeaders;
  body: unknown;
}

type Answer = (response: http.ServerResponse, asked: Asked) => void;

/** Starts a server on a Unix socket or on TCP; it ends with the test. */
export async function startAgent(
  context: TestContext,
  answer: Answer,
  kind: 'unix' | 'tcp' = 'unix',
): Promise<{ endpoint: string; asked: Asked[] }> {
  const asked: Asked[] = [];
  const server = http.createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const one = {
      path: request.url ?? '',
      headers: request.headers,
      body: JSON.parse(Buffer.concat(chunks).toString()) as unknown,
    };
    asked.push(one);
    answer(response, one);
  });
  const folder = mkdtempSync(join(tmpdir(), 'bylaw-sdk-'));
  const socket = join(folder, 'agent.sock');
  await new Promise<void>((resolve) => {
    if (kind === 'unix') server.listen(socket, resolve);
    else server.listen(0, '127.0.0.1', resolve);
  });
  context.after(() => {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  });
  const endpoint = kind === 'unix' ? socket : `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { endpoint, asked };
}

/** Answers with `value` as JSON. */
export function json(value: unknown, status = 200): Answer {
  return (response) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(value));
  };
}
