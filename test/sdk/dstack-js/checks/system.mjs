// The system under test, as the environment and the chain describe it.

import assert from 'node:assert/strict';
import http from 'node:http';
import { createPublicClient, parseAbi, http as rpc } from 'viem';

/** Bytes of a hex text, with or without 0x. */
export const hex = (text) => Buffer.from(text.replace(/^0x/, ''), 'hex');

/** Hex of bytes, without 0x. */
export const toHex = (bytes) => Buffer.from(bytes).toString('hex');

function variable(name) {
  const value = process.env[name];
  assert.ok(value, `set ${name}: the checks compare answers with it`);
  return value;
}

/** The root keys the KMS contract publishes. */
async function kmsInfo() {
  const chain = createPublicClient({ transport: rpc(variable('ETH_RPC_URL')) });
  const [k256, ca] = await chain.readContract({
    address: variable('KMS_CONTRACT_ADDR'),
    abi: parseAbi([
      'function kmsInfo() view returns (bytes k256Pubkey, bytes caPubkey, bytes quote, bytes eventlog)',
    ]),
    functionName: 'kmsInfo',
  });
  return { k256, ca };
}

/** From the environment; root keys it leaves out come from the chain. */
export async function load() {
  const { KMS_ROOT_K256, KMS_CA_SPKI } = process.env;
  const published = KMS_ROOT_K256 && KMS_CA_SPKI ? {} : await kmsInfo();
  const system = {
    appId: hex(variable('APP_CONTRACT_ADDR')),
    rootK256: hex(KMS_ROOT_K256 || published.k256),
    caSpki: hex(KMS_CA_SPKI || published.ca),
    guest: variable('DSTACK_SIMULATOR_ENDPOINT'),
    tappd: variable('TAPPD_SIMULATOR_ENDPOINT'),
    kmsUrl: process.env.KMS_URL,
  };
  assert.equal(system.appId.length, 20, 'bytes in APP_CONTRACT_ADDR');
  assert.equal(system.rootK256.length, 33, 'bytes in the root k256 key, compressed');
  return system;
}

/** The call must fail with a message that matches. */
export async function refused(call, matching, claim) {
  await assert.rejects(call, matching, `${claim} is refused`);
}

/** A request the SDK itself would not make; answers status and body. */
export function raw(endpoint, path, body) {
  const url = /^https?:/.test(endpoint) ? new URL(path, endpoint) : undefined;
  const where = url ?? { socketPath: endpoint, path };
  const options = { method: 'POST', headers: { 'content-type': 'application/json' } };
  return new Promise((resolve, reject) => {
    const request = url ? http.request(url, options, answer) : http.request({ ...where, ...options }, answer);
    request.on('error', reject);
    request.end(JSON.stringify(body));
    function answer(response) {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        resolve({ status: response.statusCode, text: Buffer.concat(chunks).toString() });
      });
    }
  });
}

/** Such a request must be refused, with words that match. */
export async function rawRefused(endpoint, path, body, matching, claim) {
  const { status, text } = await raw(endpoint, path, body);
  assert.equal(status, 400, `${claim}: ${text}`);
  assert.match(text, matching, claim);
}
