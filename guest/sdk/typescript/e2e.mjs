/**
 * Exercises every call and every verification against a running system and checks what comes back for
 * meaning. Build first (`npm run build`), start `bylaw dev`, load its `env`, then `node e2e.mjs`.
 * Prints `sdk ok`; anything else is a failure.
 */

import assert from 'node:assert/strict';
import { createPublicKey, randomBytes, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as tls from 'node:tls';
import * as sdk from './dist/index.js';
import { toKeypair } from './dist/solana.js';
import { toViemAccount } from './dist/viem.js';

function setting(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set; load the env file of \`bylaw dev\``);
  return value;
}

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const appId = setting('APP_CONTRACT_ADDR').replace(/^0x/, '').toLowerCase();
setting('DSTACK_SIMULATOR_ENDPOINT');
const developmentRoot = readFileSync(setting('BYLAW_ROOT_CA'), 'utf8');
const client = new sdk.Client();
const verifier = new sdk.Verifier({ developmentRoot, collateral: setting('BYLAW_COLLATERAL') });

/** Fails unless `promise` is refused with `code`. */
async function refused(promise, code) {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof sdk.BylawError, String(error?.stack ?? error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}

const steps = [];
const step = (name, run) => steps.push([name, run]);
let root;
let info;

step('reachable, version', async () => {
  assert.equal(await client.isReachable(), true);
  assert.match((await client.version()).version, /^\d+\.\d+/);
  assert.equal(await new sdk.Client('/nonexistent/agent.sock').isReachable(), false);
});

step('info', async () => {
  info = await client.info();
  assert.equal(info.appId, appId);
  assert.ok(info.tcbInfo, 'tcb_info is empty');
  assert.equal(info.tcbInfo.composeHash, info.composeHash);
  const [, , , rtmr3] = sdk.replayRtmrs(info.tcbInfo.eventLog);
  assert.equal(hex(rtmr3), info.tcbInfo.rtmr3);
  assert.ok(JSON.parse(info.tcbInfo.appCompose).runner);
});

step('KMS root from the chain', async () => {
  root = await sdk.fetchKmsRoot(setting('ETH_RPC_URL'), setting('KMS_CONTRACT_ADDR'));
  assert.equal(root.k256Public.length, 33);
  assert.equal(hex(root.caSpki), JSON.parse(info.keyProviderInfo).id);
  await refused(sdk.fetchKmsRoot(setting('ETH_RPC_URL'), '11'.repeat(20)), 'kms_root');
});

step('keys and their chain', async () => {
  for (const algorithm of ['secp256k1', 'ed25519']) {
    const key = await client.getKey('wallet', 'mainnet', algorithm);
    assert.equal(sdk.verifyDerivedKey(root, appId, key).length, 33);
    assert.deepEqual((await client.getKey('wallet', 'mainnet', algorithm)).key, key.key);
    assert.throws(() => sdk.verifyDerivedKey(root, '11'.repeat(20), key), { code: 'signature' });
    assert.ok(!String(key).includes(hex(key.key)));
  }
  const key = await client.getKey('wallet', 'mainnet');
  assert.notDeepEqual((await client.getKey('other', 'mainnet')).key, key.key);
  assert.equal(toViemAccount(key).address, sdk.ethereumAccount(key).address);
  assert.equal(toKeypair(key).publicKey.toBase58(), sdk.solanaAccount(key).address);
  await refused(client.getKey('wallet', 'mainnet', 'rsa'), 'bad_request');
});

step('sign and verify', async () => {
  for (const algorithm of ['ed25519', 'secp256k1', 'k256', 'secp256k1_prehashed']) {
    const data = new Uint8Array(randomBytes(32));
    const answer = await client.sign(algorithm, data);
    assert.equal(sdk.verifySignature(root, appId, algorithm, data, answer).length, 33);
    assert.equal(await client.verify(algorithm, data, answer.signature, answer.publicKey), true);
    data[0] ^= 1;
    assert.throws(() => sdk.verifySignature(root, appId, algorithm, data, answer), { code: 'signature' });
    assert.equal(await client.verify(algorithm, data, answer.signature, answer.publicKey), false);
  }
});

step('quote, in every form', async () => {
  const challenge = new Uint8Array(randomBytes(64));
  const expect = {
    reportData: challenge,
    appId,
    composeHash: info.composeHash,
    deviceIds: [info.deviceId],
    measurements: [
      {
        mrtd: info.tcbInfo.mrtd,
        rtmr0: info.tcbInfo.rtmr0,
        rtmr1: info.tcbInfo.rtmr1,
        rtmr2: info.tcbInfo.rtmr2,
      },
    ],
    keyProviderId: root.caSpki,
  };
  const quote = await client.getQuote(challenge);
  const attestation = await client.attest(challenge);
  for (const evidence of [quote, attestation]) {
    const appraisal = await verifier.verifyEvidence(evidence, expect);
    assert.equal(appraisal.reportData, hex(challenge));
    assert.equal(appraisal.appId, appId);
    assert.equal(appraisal.instanceId, info.instanceId);
    assert.equal(appraisal.tcbStatus, 'UpToDate');
    assert.equal(appraisal.debug, false);
  }
  const rtmrs = sdk.replayRtmrs(quote.events());
  const { rtmr0, rtmr3 } = await verifier.verifyEvidence(quote, expect);
  assert.deepEqual([hex(rtmrs[0]), hex(rtmrs[3])], [rtmr0, rtmr3]);

  const other = '11'.repeat(32);
  await refused(verifier.verifyEvidence(quote, { ...expect, reportData: other }), 'report_data_mismatch');
  await refused(verifier.verifyEvidence(quote, { ...expect, appId: '11'.repeat(20) }), 'app_id');
  await refused(verifier.verifyEvidence(quote, { ...expect, composeHash: other }), 'compose_hash');
  await refused(verifier.verifyEvidence(quote, { ...expect, deviceIds: [other] }), 'device_id');
  await refused(
    verifier.verifyEvidence(quote, { ...expect, measurements: [{ mrtd: '11'.repeat(48) }] }),
    'measurement',
  );
  await refused(verifier.verifyEvidence(quote, { ...expect, keyProviderId: other }), 'key_provider');
  await refused(verifier.verifyEvidence(quote, { ...expect, tcbStatuses: ['OutOfDate'] }), 'tcb_status');
  const forged = { ...quote, quote: quote.quote.slice() };
  forged.quote[200] ^= 1;
  await refused(verifier.verifyEvidence(forged, expect), 'quote');
  const renamed = { ...quote, eventLog: quote.eventLog.replace('"compose-hash"', '"compose-hasi"') };
  await refused(verifier.verifyEvidence(renamed, expect), 'event_log');
  // Simulated evidence says nothing under Intel's own root.
  const intel = new sdk.Verifier({ collateral: setting('BYLAW_COLLATERAL') });
  await refused(intel.verifyEvidence(quote, expect), 'quote');
});

step('TLS key, its certificate, and a connection', async () => {
  const key = await client.getTlsKey({
    subject: 'e2e',
    altNames: ['localhost'],
    usageRaTls: true,
    withAppInfo: true,
  });
  const expect = { appId, composeHash: info.composeHash };
  const appraisal = await sdk.verifyCertificate(verifier, key.certificateChain, root, expect);
  assert.equal(appraisal.appId, appId);
  assert.equal(appraisal.usage, 'app:custom');
  assert.match(appraisal.subject, /CN=e2e/);
  const spki = createPublicKey(key.key).export({ format: 'der', type: 'spki' });
  assert.equal(hex(appraisal.publicKey), hex(spki));
  assert.equal(appraisal.reportData, hex(sdk.reportDataForTlsKey(spki)));
  assert.ok(new X509Certificate(key.certificateChain[0]).subjectAltName.includes('localhost'));
  await refused(
    sdk.verifyCertificate(verifier, key.certificateChain, root, { appId: '11'.repeat(20) }),
    'app_id',
  );
  const another = { caSpki: spki };
  await refused(sdk.verifyCertificate(verifier, key.certificateChain, another, expect), 'chain');
  const plain = await client.getTlsKey({ subject: 'e2e' });
  await refused(sdk.verifyCertificate(verifier, plain.certificateChain, root, expect), 'encoding');
  await connections(key, plain, expect);
});

async function connections(key, plain, expect) {
  const peer = { verifier, root, expect };
  const greet = async (serverKey, connect) => {
    const server = tls.createServer(
      { key: serverKey.key, cert: serverKey.certificateChain.join('') },
      (socket) => {
        socket.on('error', () => {});
        socket.end('hello');
      },
    );
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      return await connect(server.address().port);
    } finally {
      server.close();
    }
  };
  const read = async (socket) => {
    let text = '';
    for await (const chunk of socket) text += chunk;
    return text;
  };
  const verified = (port) => sdk.connectVerified({ host: '127.0.0.1', port }, peer);

  const said = await greet(key, async (port) => {
    const { socket, peer: who } = await verified(port);
    assert.equal(who.appId, appId);
    return read(socket);
  });
  assert.equal(said, 'hello');
  await refused(greet(plain, verified), 'encoding');

  const collateral = await verifier.collateralFor(sdk.evidenceOfCertificate(key.certificateChain));
  const byIdentityCheck = (expected) => (port) =>
    new Promise((resolve, reject) => {
      const socket = tls.connect({
        host: '127.0.0.1',
        port,
        servername: 'localhost',
        ca: [key.certificateChain.at(-1)],
        checkServerIdentity: sdk.checkServerIdentity({ ...peer, expect: expected }, collateral),
      });
      socket.once('error', reject);
      socket.once('secureConnect', () => resolve(read(socket)));
    });
  assert.equal(await greet(key, byIdentityCheck(expect)), 'hello');
  await refused(greet(key, byIdentityCheck({ appId: '11'.repeat(20) })), 'app_id');
}

step('event, visible in the next quote', async () => {
  const name = `e2e-${hex(randomBytes(4))}`;
  await client.emitEvent(name, '00ff');
  const challenge = randomBytes(8);
  const { events, composeHash } = await verifier.verifyEvidence(await client.getQuote(challenge), {
    reportData: challenge,
  });
  const last = events.at(-1);
  assert.deepEqual([last.event, hex(last.payload)], [name, '00ff']);
  assert.equal(composeHash, info.composeHash);
  await refused(client.emitEvent('a:b', '00'), 'input');
});

step('GPUs', async () => {
  assert.equal(typeof (await client.gpuInfo()).attestation, 'string');
});

step('environment', async () => {
  const recipient = randomBytes(32);
  const sealed = sdk.encryptEnv({ A: '1' }, recipient);
  assert.ok(sealed.length > 60);
  const envelope = await sdk.encryptEnvSigned({ A: '1' }, recipient, appId, 1, randomBytes(32));
  assert.equal(Buffer.from(envelope.slice(0, 8)).toString(), 'BYLAWENV');
  assert.equal(sdk.composeHash({ b: 1, a: 2 }), sdk.composeHash('{"a":2,"b":1}'));
});

for (const [name, run] of steps) {
  try {
    await run();
  } catch (error) {
    console.error(`sdk failed at: ${name}`);
    console.error(error);
    process.exit(1);
  }
}
console.log('sdk ok');
process.exit(0);
