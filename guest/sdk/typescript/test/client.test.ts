/** The client against servers that answer rightly, wrongly, too much, too late or not at all. */

import assert from 'node:assert/strict';
import * as net from 'node:net';
import { afterEach, describe, test } from 'node:test';
import { inspect } from 'node:util';
import { toHex } from '../src/bytes.js';
import { AgentError, AnswerError, Client, InputError, SOCKET_PATHS, TransportError } from '../src/index.js';
import { json, startAgent } from './agent.js';

const KEY = '11'.repeat(32);
const SIGNATURE = '22'.repeat(65);
const REGISTER = '33'.repeat(48);
const TCB_INFO = {
  mrtd: REGISTER,
  rtmr0: REGISTER,
  rtmr1: REGISTER,
  rtmr2: REGISTER,
  rtmr3: null,
  mr_aggregated: '44'.repeat(32),
  os_image_hash: '44'.repeat(32),
  compose_hash: '44'.repeat(32),
  device_id: '44'.repeat(32),
  event_log: [{ imr: 3, event_type: 134217729, digest: '', event: 'a', event_payload: '00', version: 2 }],
  app_compose: '{}',
};
const INFO = {
  app_id: '11'.repeat(20),
  instance_id: '',
  app_cert: '',
  tcb_info: JSON.stringify(TCB_INFO),
  app_name: 'hello',
  device_id: '44'.repeat(32),
  mr_aggregated: '44'.repeat(32),
  os_image_hash: '',
  key_provider_info: '{"name":"kms","id":"00"}',
  compose_hash: '44'.repeat(32),
  vm_config: '{}',
  cloud_vendor: '',
  cloud_product: '',
};
const QUOTE = { quote: '0400', event_log: '[]', report_data: '00'.repeat(64), vm_config: '' };
const SIGNED = { signature: '55'.repeat(64), signature_chain: [SIGNATURE], public_key: '66'.repeat(33) };

describe('what is asked, and what comes back', () => {
  const calls: [string, unknown, unknown, (client: Client) => Promise<unknown>, unknown][] = [
    [
      'GetTlsKey',
      { key: 'PEM', certificate_chain: ['A', 'B'] },
      {
        subject: 's',
        alt_names: ['a.example', '127.0.0.1'],
        usage_ra_tls: true,
        usage_server_auth: true,
        usage_client_auth: false,
        not_before: 1,
        not_after: 2,
        with_app_info: false,
      },
      async (client) => {
        const options = {
          subject: 's',
          altNames: ['a.example', '127.0.0.1'],
          usageRaTls: true,
          notBefore: 1,
          notAfter: 2,
        };
        const { key, certificateChain } = await client.getTlsKey(options);
        return [key, certificateChain];
      },
      ['PEM', ['A', 'B']],
    ],
    [
      'GetTlsKey',
      { key: 'PEM', certificate_chain: [] },
      {
        subject: '',
        alt_names: [],
        usage_ra_tls: false,
        usage_server_auth: true,
        usage_client_auth: false,
        with_app_info: false,
      },
      async (client) => (await client.getTlsKey()).certificateChain,
      [],
    ],
    [
      'Attest',
      { attestation: '00ff' },
      { report_data: '0a' },
      async (client) => toHex(await client.attest('0x0A')),
      '00ff',
    ],
    ['GpuInfo', { attestation: '{}' }, {}, (client) => client.gpuInfo(), { attestation: '{}' }],
    [
      'Version',
      { version: '0.1.0', rev: '' },
      {},
      (client) => client.version(),
      { version: '0.1.0', rev: '' },
    ],
    [
      'Verify',
      { valid: false },
      { algorithm: 'ed25519', data: '00', signature: '01', public_key: '02' },
      (client) => client.verify('ed25519', '00', '01', Uint8Array.of(2)),
      false,
    ],
    ['EmitEvent', null, { event: 'a', payload: 'ff' }, (client) => client.emitEvent('a', 'ff'), undefined],
    [
      'Sign',
      SIGNED,
      { algorithm: 'k256', data: '' },
      async (client) => {
        const { signature, signatureChain, publicKey } = await client.sign('k256', '');
        return [toHex(signature), signatureChain.map(toHex), toHex(publicKey)];
      },
      [SIGNED.signature, SIGNED.signature_chain, SIGNED.public_key],
    ],
  ];
  for (const kind of ['unix', 'tcp'] as const) {
    for (const [method, answer, request, call, result] of calls) {
      test(`${method} over ${kind}`, async (context) => {
        const { endpoint, asked } = await startAgent(context, json(answer), kind);
        assert.deepEqual(await call(new Client(endpoint)), result);
        assert.deepEqual(
          asked.map(({ path, body }) => [path, body]),
          [[`/${method}`, request]],
        );
        assert.match(asked[0]?.headers['content-type'] ?? '', /^application\/json/);
      });
    }
  }

  test('GetKey', async (context) => {
    const { endpoint, asked } = await startAgent(
      context,
      json({ key: KEY, signature_chain: [SIGNATURE, ''], more: 1 }),
    );
    const key = await new Client({ endpoint }).getKey('wallet', 'mainnet', 'ed25519');
    assert.equal(toHex(key.key), KEY);
    assert.deepEqual(key.signatureChain.map(toHex), [SIGNATURE, '']);
    assert.deepEqual([key.path, key.purpose, key.algorithm], ['wallet', 'mainnet', 'ed25519']);
    assert.deepEqual(asked[0]?.body, { path: 'wallet', purpose: 'mainnet', algorithm: 'ed25519' });
    assert.ok(!inspect(key, { depth: 5, showHidden: true }).includes('11, 11'));
  });

  test('GetQuote, with and without an attestation', async (context) => {
    const log = '[{"imr":0,"event_type":4,"digest":"00","event":"","event_payload":""}]';
    const answers = [
      { ...QUOTE, event_log: log, attestation: '01' },
      { ...QUOTE, event_log: '' },
    ];
    const { endpoint } = await startAgent(context, (response) =>
      json(answers.shift())(response, { path: '', headers: {}, body: 0 }),
    );
    const client = new Client(endpoint);
    const full = await client.getQuote(new Uint8Array(64));
    assert.equal(toHex(full.attestation), '01');
    assert.equal(full.events()[0]?.eventType, 4);
    const bare = await client.getQuote(new Uint8Array());
    assert.equal(bare.attestation.length, 0);
    assert.deepEqual(bare.events(), []);
  });

  test('Info, with and without tcb_info', async (context) => {
    const answers = [INFO, { ...INFO, tcb_info: '' }];
    const { endpoint } = await startAgent(context, (response) =>
      json(answers.shift())(response, { path: '', headers: {}, body: 0 }),
    );
    const client = new Client(endpoint);
    const info = await client.info();
    assert.equal(info.appId, INFO.app_id);
    assert.equal(info.tcbInfo?.mrtd, REGISTER);
    assert.equal(info.tcbInfo?.rtmr3, null);
    assert.equal(info.tcbInfo?.eventLog[0]?.version, 2);
    assert.equal((await client.info()).tcbInfo, null);
  });

  test('a base URL may have a path', async (context) => {
    const { endpoint, asked } = await startAgent(context, json({ version: '1', rev: '2' }), 'tcp');
    await new Client(`${endpoint}/agent/`).version();
    assert.equal(asked[0]?.path, '/agent/Version');
  });
});

describe('answers that are not what they must be', () => {
  const calls: Record<string, (client: Client) => Promise<unknown>> = {
    GetKey: (client) => client.getKey(),
    GetTlsKey: (client) => client.getTlsKey(),
    GetQuote: (client) => client.getQuote(''),
    Attest: (client) => client.attest(''),
    Info: (client) => client.info(),
    Sign: (client) => client.sign('ed25519', ''),
    Verify: (client) => client.verify('ed25519', '', '', ''),
    Version: (client) => client.version(),
    GpuInfo: (client) => client.gpuInfo(),
  };
  const good: Record<string, Record<string, unknown>> = {
    GetKey: { key: KEY, signature_chain: [SIGNATURE] },
    GetTlsKey: { key: 'PEM', certificate_chain: ['A'] },
    GetQuote: QUOTE,
    Attest: { attestation: '00' },
    Info: INFO,
    Sign: SIGNED,
    Verify: { valid: true },
    Version: { version: '1', rev: '' },
    GpuInfo: { attestation: '' },
  };
  const optional = ['mr_aggregated', 'os_image_hash', 'vm_config', 'cloud_vendor', 'cloud_product'];

  for (const [method, call] of Object.entries(calls)) {
    test(`${method}: members missing or of another type`, async (context) => {
      let answer: unknown;
      const { endpoint } = await startAgent(context, (response, asked) => json(answer)(response, asked));
      const client = new Client(endpoint);
      for (const name of Object.keys(good[method] ?? {})) {
        for (const wrong of [1, null, {}, [1], ['x', {}], true, undefined]) {
          if (wrong === undefined && method === 'Info' && optional.includes(name)) continue;
          if (wrong === true && name === 'valid') continue;
          answer = { ...good[method], [name]: wrong };
          await assert.rejects(call(client), (error: Error) => {
            assert.ok(error instanceof AnswerError, inspect(error));
            assert.ok(error.message.includes(name), error.message);
            return true;
          });
        }
      }
      for (const whole of [null, [], 'x', 1]) {
        answer = whole;
        await assert.rejects(call(client), AnswerError);
      }
      answer = { ...good[method], unknown: { any: 'thing' } };
      await call(client);
    });
  }

  for (const [what, method, change] of [
    ['a key of 31 bytes', 'GetKey', { key: '11'.repeat(31) }],
    ['a key that is no hex', 'GetKey', { key: 'zz'.repeat(32) }],
    ['half a byte', 'GetKey', { key: '1'.repeat(63) }],
    ['report data of 63 bytes', 'GetQuote', { report_data: '00'.repeat(63) }],
    ['tcb_info that is no JSON', 'Info', { tcb_info: '{' }],
    ['tcb_info that is a list', 'Info', { tcb_info: '[]' }],
    ['a short register', 'Info', { tcb_info: JSON.stringify({ ...TCB_INFO, mrtd: '00' }) }],
    ['no event log', 'Info', { tcb_info: JSON.stringify({ ...TCB_INFO, event_log: undefined }) }],
    ['an event that is none', 'Info', { tcb_info: JSON.stringify({ ...TCB_INFO, event_log: [1] }) }],
  ] as const) {
    test(what, async (context) => {
      const { endpoint } = await startAgent(context, json({ ...good[method], ...change }));
      await assert.rejects(calls[method]?.(new Client(endpoint)) ?? Promise.resolve(), (error: Error) => {
        assert.ok(error instanceof AnswerError, inspect(error));
        assert.ok(!error.message.includes('1111'), 'an error repeats a key');
        return true;
      });
    });
  }

  for (const [what, text] of [
    ['no JSON', `{"key":"${KEY}`],
    ['text', 'key 1111'],
    ['nothing', ''],
  ] as const) {
    test(`the answer is ${what}`, async (context) => {
      const { endpoint } = await startAgent(context, (response) => response.end(text));
      await assert.rejects(new Client(endpoint).getKey(), (error: Error) => {
        assert.ok(error instanceof AnswerError, inspect(error));
        assert.ok(!inspect(error, { depth: 9 }).includes('1111'), 'an error repeats a key');
        return true;
      });
    });
  }

  for (const declared of [true, false]) {
    test(`the answer is too long, ${declared ? '' : 'not '}declared`, async (context) => {
      const chunk = Buffer.alloc(1024 * 1024, 0x20);
      const { endpoint } = await startAgent(context, (response) => {
        response.writeHead(200, declared ? { 'content-length': 18 * chunk.length } : {});
        for (let index = 0; index < 18; index += 1) response.write(chunk);
        response.end();
      });
      await assert.rejects(new Client(endpoint).getKey(), {
        name: 'AnswerError',
        message: /exceeds 16777216 bytes/,
      });
    });
  }
});

describe('refusals and failures', () => {
  test('the code and sentence of the agent', async (context) => {
    const { endpoint } = await startAgent(
      context,
      json({ error: 'Unsupported algorithm', code: 'bad_request' }, 400),
    );
    await assert.rejects(new Client(endpoint).sign('ed25519', ''), (error: Error) => {
      assert.ok(error instanceof AgentError);
      assert.deepEqual(
        [error.code, error.message, error.status],
        ['bad_request', 'Unsupported algorithm', 400],
      );
      return true;
    });
  });

  test('an agent that states no code', async (context) => {
    const { endpoint } = await startAgent(context, json({ error: 'no' }, 400));
    await assert.rejects(new Client(endpoint).version(), {
      name: 'AgentError',
      code: 'error',
      message: 'no',
    });
    assert.equal(await new Client(endpoint).isReachable(), true);
  });

  for (const [status, body] of [
    [404, '<html>'],
    [500, ''],
    [400, '{}'],
    [302, '{"key": 1}'],
    [204, ''],
  ] as const) {
    test(`status ${status}`, async (context) => {
      const { endpoint } = await startAgent(context, (response) => {
        response.writeHead(status, { location: '/elsewhere' });
        response.end(body);
      });
      await assert.rejects(new Client(endpoint).version(), {
        name: 'TransportError',
        message: new RegExp(`${status}`),
      });
      assert.equal(await new Client(endpoint).isReachable(), false);
    });
  }

  test('no answer in time', async (context) => {
    const { endpoint } = await startAgent(context, () => {});
    const started = performance.now();
    await assert.rejects(new Client({ endpoint, timeoutMs: 200 }).version(), {
      name: 'TransportError',
      message: /200 ms/,
    });
    assert.ok(performance.now() - started < 5_000);
    assert.equal(await new Client(endpoint).isReachable(), false);
  });

  test('an answer that trickles', async (context) => {
    const { endpoint } = await startAgent(context, (response) => {
      const timer = setInterval(() => response.write(' '), 20);
      response.on('close', () => clearInterval(timer));
    });
    await assert.rejects(new Client({ endpoint, timeoutMs: 300 }).version(), {
      name: 'TransportError',
      message: /300 ms/,
    });
  });

  test('an answer that is cut off', async (context) => {
    const { endpoint } = await startAgent(context, (response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('{"version":"1","rev":""}');
      setTimeout(() => response.destroy(), 20);
    });
    await assert.rejects(new Client(endpoint).version(), TransportError);
  });

  test('something that is not HTTP', async (context) => {
    const server = net.createServer((socket) => socket.end('220 ready\r\n'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    context.after(() => server.close());
    const { port } = server.address() as net.AddressInfo;
    await assert.rejects(new Client(`http://127.0.0.1:${port}`).version(), TransportError);
  });

  test('no socket, and nobody behind the port', async () => {
    for (const endpoint of ['/nonexistent/agent.sock', 'http://127.0.0.1:1']) {
      await assert.rejects(new Client(endpoint).version(), TransportError);
      assert.equal(await new Client(endpoint).isReachable(), false);
    }
  });
});

describe('what the caller may pass', () => {
  const client = new Client('/nonexistent/agent.sock');

  test('is checked before anything is sent', async () => {
    await assert.rejects(client.getQuote(new Uint8Array(65)), { name: 'InputError', message: /65 bytes/ });
    await assert.rejects(client.attest('0'), InputError);
    await assert.rejects(client.attest('xy'), InputError);
    await assert.rejects(client.emitEvent('', ''), InputError);
    await assert.rejects(client.emitEvent('a:b', ''), InputError);
    await assert.rejects(client.getTlsKey({ notBefore: 2, notAfter: 2 }), InputError);
    await assert.rejects(client.getTlsKey({ notAfter: 1.5 }), InputError);
    await assert.rejects(client.sign('ed25519', [1, 2] as unknown as Uint8Array), InputError);
  });

  for (const endpoint of ['ftp://host', 'http://', 'unix:', '']) {
    test(`endpoint ${JSON.stringify(endpoint)}`, () => {
      assert.throws(() => new Client(endpoint), InputError);
    });
  }
  for (const timeoutMs of [0, -1, 1.5, Number.NaN, 2 ** 31]) {
    test(`a limit of ${timeoutMs} ms`, () => {
      assert.throws(() => new Client({ endpoint: '/x', timeoutMs }), InputError);
      assert.throws(() => new Client({ endpoint: '/x', connectTimeoutMs: timeoutMs }), InputError);
    });
  }
});

describe('where the agent is looked for', () => {
  const before = process.env.DSTACK_SIMULATOR_ENDPOINT;
  afterEach(() => {
    if (before === undefined) delete process.env.DSTACK_SIMULATOR_ENDPOINT;
    else process.env.DSTACK_SIMULATOR_ENDPOINT = before;
  });

  test('the argument wins over the environment', async (context) => {
    const { endpoint } = await startAgent(context, json({ version: 'from the socket', rev: '' }));
    process.env.DSTACK_SIMULATOR_ENDPOINT = endpoint;
    assert.equal((await new Client().version()).version, 'from the socket');
    await assert.rejects(new Client('/nonexistent/agent.sock').version(), TransportError);
  });

  test('without either, the mounted sockets, and an error that names them', async (context) => {
    delete process.env.DSTACK_SIMULATOR_ENDPOINT;
    const client = new Client();
    if (await client.isReachable()) return context.skip('an agent runs here');
    await assert.rejects(client.version(), (error: Error) => {
      assert.ok(error instanceof TransportError);
      return error.message.includes(SOCKET_PATHS[0] ?? '');
    });
  });
});
