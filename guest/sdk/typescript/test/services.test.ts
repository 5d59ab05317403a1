/** Collateral services, Ethereum nodes and TLS peers that answer rightly and wrongly. */

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import * as net from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { toHex } from '../src/bytes.js';
import {
  AnswerError,
  connectVerified,
  fetchKmsRoot,
  InputError,
  Pccs,
  TransportError,
  VerificationError,
  Verifier,
} from '../src/index.js';
import { json, startAgent } from './agent.js';
import { type EvidenceVectors, expectationsOf, verifierIn } from './evidence-vectors.js';
import { type RecordedAnswers, startPccs } from './pccs.js';
import { bytes, sdkVectors } from './vectors.js';

const evidence = sdkVectors<EvidenceVectors>('evidence.json');
const KEY = { fmspc: '00'.repeat(6), ca: 'platform' } as const;
const TCB = '/tdx/certification/v4/tcb';
const hex = (text: string) => Buffer.from(text).toString('hex');

describe('a collateral service', () => {
  test('is asked once an hour for one platform', async (context) => {
    const { url, asked } = await startPccs(context, evidence.pccs);
    for (const base of [url, `${url}/`, `${url}/sgx/certification/v4/`]) {
      const pccs = new Pccs(base);
      const [first] = await Promise.all([pccs.collateral(KEY), pccs.collateral(KEY)]);
      assert.equal(await pccs.collateral(KEY), first);
    }
    assert.equal(asked.length, 12);
    assert.ok(asked.includes(`${TCB}?fmspc=${KEY.fmspc}`));
    assert.ok(asked.includes('/sgx/certification/v4/pckcrl?ca=platform&encoding=der'));
    const forgetful = new Pccs(url, { maxAgeMs: 0 });
    await forgetful.collateral(KEY);
    await forgetful.collateral(KEY);
    assert.equal(asked.length, 20);
  });

  test('that failed is asked again', async (context) => {
    const answers: RecordedAnswers = {};
    const { url } = await startPccs(context, answers);
    const pccs = new Pccs(url);
    await assert.rejects(pccs.collateral(KEY), { code: 'collateral', message: /status 404/ });
    Object.assign(answers, evidence.pccs);
    assert.ok((await pccs.collateral(KEY)).tcbInfo.startsWith('{'));
  });

  const tcb = evidence.pccs[TCB];
  assert.ok(tcb);
  const body = Buffer.from(tcb.body, 'hex').toString();
  const cases: [string, Partial<typeof tcb>][] = [
    ['with status 500', { status: 500 }],
    ['with a redirect to nowhere', { status: 302, headers: { location: 'http://127.0.0.1:1/' } }],
    ['without the issuer chain', { headers: {} }],
    ['with a chain that is no URL encoding', { headers: { 'TCB-Info-Issuer-Chain': '%zz' } }],
    ['that is no JSON', { body: hex('{') }],
    ['that is a list', { body: hex('[]') }],
    ['without a signature', { body: hex('{"tcbInfo":{}}') }],
    ['with a short signature', { body: hex('{"tcbInfo":{},"signature":"00"}') }],
    ['with two objects', { body: hex(`{"other":{},${body.slice(1)}`) }],
    ['with the member twice', { body: hex(`{"tcbInfo":{"id":"other"},${body.slice(1)}`) }],
    ['too long', { body: hex(body + ' '.repeat(1024 * 1024)) }],
    ['empty', { body: '' }],
  ];
  for (const [what, change] of cases) {
    test(`${what} gives no collateral`, async (context) => {
      const { url } = await startPccs(context, { ...evidence.pccs, [TCB]: { ...tcb, ...change } });
      await assert.rejects(new Pccs(url).collateral(KEY), (error: Error) => {
        assert.ok(error instanceof VerificationError, String(error.stack));
        assert.equal(error.code, 'collateral');
        return true;
      });
    });
  }

  test('may send blanks and braces inside text', async (context) => {
    const text = '{ "id": "}{\\"", "more": {"a": "\\\\"} }';
    const answer = `\n{ "tcbInfo" : ${text} , "signature" : "${'00'.repeat(64)}" }`;
    const { url } = await startPccs(context, { ...evidence.pccs, [TCB]: { ...tcb, body: hex(answer) } });
    assert.equal((await new Pccs(url).collateral(KEY)).tcbInfo, text);
  });

  test('that nobody runs, and addresses that are none', async () => {
    await assert.rejects(new Pccs('http://127.0.0.1:1').collateral(KEY), { code: 'collateral' });
    for (const url of ['', 'host', 'ftp://host', 'http://']) assert.throws(() => new Pccs(url), InputError);
  });

  test('out of reach does not hide that evidence is forged', async () => {
    const forged = bytes(evidence.attestation_v0);
    forged[300] = (forged[300] ?? 0) ^ 1;
    const verifier = new Verifier({
      developmentRoot: evidence.root_ca ?? '',
      collateral: 'http://127.0.0.1:1',
      now: () => new Date(evidence.time * 1000),
    });
    const expect = expectationsOf(evidence.expect);
    await assert.rejects(verifier.verifyEvidence(forged, expect), { code: 'quote' });
    await assert.rejects(verifier.verifyEvidence(bytes(evidence.attestation_v0), expect), {
      code: 'collateral',
    });
  });

  test('roots that are none are refused', () => {
    for (const developmentRoot of ['', 'root', new Uint8Array(), Uint8Array.of(0x30, 0)]) {
      assert.throws(() => new Verifier({ developmentRoot }), InputError);
    }
  });
});

describe('an Ethereum node', () => {
  const [good] = sdkVectors<{ return_data: string; k256_public: string; ca_spki: string }[]>('kms_info.json');
  assert.ok(good);
  const CONTRACT = '0x9fe46736679d2d9a65f0992f2272de9f3c7fa6e0';
  const result = (data: string) => ({ jsonrpc: '2.0', id: 1, result: data });

  test('is asked for kmsInfo() of the finalized block', async (context) => {
    const { endpoint, asked } = await startAgent(context, json(result(`0x${good.return_data}`)), 'tcp');
    const root = await fetchKmsRoot(endpoint, CONTRACT);
    assert.equal(toHex(root.k256Public), good.k256_public);
    assert.equal(toHex(root.caSpki), good.ca_spki);
    const request = { to: CONTRACT, data: '0x09177063' };
    assert.deepEqual(
      asked.map(({ body }) => body),
      [{ jsonrpc: '2.0', id: 1, method: 'eth_call', params: [request, 'finalized'] }],
    );
  });

  for (const [what, answer, expected] of [
    ['an error', { jsonrpc: '2.0', id: 1, error: { code: -32000, message: 'no such block' } }, AnswerError],
    ['no result', { jsonrpc: '2.0', id: 1 }, AnswerError],
    ['null', null, AnswerError],
    ['a list', [], AnswerError],
    ['a result that is no text', result(5 as unknown as string), AnswerError],
    ['a result that is no hex', result('0xzz'), AnswerError],
    ['nothing', result('0x'), VerificationError],
  ] as const) {
    test(`that answers ${what}`, async (context) => {
      const { endpoint } = await startAgent(context, json(answer), 'tcp');
      await assert.rejects(fetchKmsRoot(endpoint, CONTRACT), expected);
    });
  }

  test('that answers no JSON, another status, or not at all', async (context) => {
    const text = await startAgent(context, (response) => response.end('<html>'), 'tcp');
    await assert.rejects(fetchKmsRoot(text.endpoint, CONTRACT), AnswerError);
    const status = await startAgent(context, json({}, 429), 'tcp');
    await assert.rejects(
      fetchKmsRoot(`${status.endpoint}/v3/secret?key=secret`, CONTRACT),
      (error: Error) => {
        assert.ok(error instanceof TransportError);
        assert.match(error.message, /429/);
        assert.doesNotMatch(error.message, /secret/);
        return true;
      },
    );
    await assert.rejects(fetchKmsRoot('http://127.0.0.1:1', CONTRACT), TransportError);
  });

  test('addresses that are none are refused', async () => {
    await assert.rejects(fetchKmsRoot('node', CONTRACT), InputError);
    await assert.rejects(fetchKmsRoot('http://127.0.0.1:1', '0x00'), InputError);
  });
});

describe('a TLS peer', () => {
  const silent = async (context: TestContext, answer: (socket: net.Socket) => void) => {
    const sockets = new Set<net.Socket>();
    const server = net.createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      answer(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    context.after(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    return (server.address() as net.AddressInfo).port;
  };

  test('that says nothing, hangs up, or speaks something else', async (context) => {
    const peer = { verifier: await verifierIn(context, evidence, 'file'), root: null, expect: {} };
    for (const [answer, timeoutMs] of [
      [() => {}, 200],
      [(socket: net.Socket) => socket.destroy(), 5_000],
      [(socket: net.Socket) => socket.end('220 ready\r\n'), 5_000],
    ] as const) {
      const port = await silent(context, answer);
      await assert.rejects(connectVerified({ host: '127.0.0.1', port, timeoutMs }, peer), TransportError);
    }
    await assert.rejects(connectVerified({ host: '127.0.0.1', port: 1 }, peer), TransportError);
  });

  test('keys are not confused with certificates', () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const der = publicKey.export({ format: 'der', type: 'spki' });
    assert.throws(() => new Verifier({ developmentRoot: der }), InputError);
  });
});
