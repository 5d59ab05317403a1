/** A collateral service that repeats recorded answers. */

import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';

/** Answers by path without query; bodies in hexadecimal. */
export type RecordedAnswers = Record<
  string,
  { status: number; headers: Record<string, string>; body: string }
>;

/** Starts a service that ends with the test. */
export async function startPccs(
  context: TestContext,
  answers: RecordedAnswers,
): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    asked.push(request.url ?? '');
    const answer = answers[(request.url ?? '').replace(/\?.*/, '')];
    response.writeHead(answer?.status ?? 404, answer?.headers ?? {});
    response.end(Buffer.from(answer?.body ?? '', 'hex'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}
