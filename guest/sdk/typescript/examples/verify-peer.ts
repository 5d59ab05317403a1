/**
 * Anywhere: connects to an app, verifies who it is, and only then sends a request.
 *
 * node verify-peer.js HOST PORT APP_ID COMPOSE_HASH RPC_URL KMS_AUTH
 */

import * as http from 'node:http';
import { connectVerified, fetchKmsRoot, VerificationError, Verifier } from '../src/index.js';

const [host = '', port = '', appId = '', composeHash = '', rpcUrl = '', kmsAuth = ''] = process.argv.slice(2);

const verifier = new Verifier();
const root = await fetchKmsRoot(rpcUrl, kmsAuth);
try {
  const { socket, peer } = await connectVerified(
    { host, port: Number(port) },
    { verifier, root, expect: { appId, composeHash } },
  );
  console.log(`app ${peer.appId} on machine ${peer.deviceId}, platform ${peer.tcbStatus}`);
  http.get({ host, path: '/', agent: false, createConnection: () => socket }, (answer) =>
    answer.pipe(process.stdout),
  );
} catch (error) {
  if (!(error instanceof VerificationError)) throw error;
  console.error(`not trusted (${error.code}): ${error.message}`);
  process.exitCode = 1;
}
