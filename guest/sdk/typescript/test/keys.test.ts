/** Keys, signatures, accounts and environments against the shared vectors. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { gcm } from '@noble/ciphers/aes.js';
import { x25519 } from '@noble/curves/ed25519.js';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { toHex } from '../src/bytes.js';
import { envPlaintext, sealV1, sealV2 } from '../src/env.js';
import {
  BylawError,
  canonicalCompose,
  composeHash,
  DerivedKey,
  decodeKmsInfo,
  type EnvVar,
  encryptEnv,
  encryptEnvSigned,
  envDigest,
  ethereumAccount,
  ethereumAccountSecure,
  InputError,
  publicKeyOf,
  replayRtmrs,
  type SignAlgorithm,
  solanaAccount,
  solanaAccountSecure,
  TlsKey,
  verifyDerivedKey,
  verifyEnvKey,
  verifyEnvKeyLegacy,
  verifyKey,
  verifySignature,
} from '../src/index.js';
import { toKeypair, toKeypairSecure } from '../src/solana.js';
import { toViemAccount, toViemAccountSecure } from '../src/viem.js';
import { bytes, sdkVectors } from './vectors.js';

/** Refused on purpose, not by accident. */
function refuses(act: () => unknown): void {
  assert.throws(act, BylawError);
}

interface KeyChainVector {
  name: string;
  root: string;
  app_id: string;
  purpose: string;
  public_key: string;
  chain: string[];
  ok: boolean;
  app_public?: string;
}

describe('chains of derived keys', () => {
  for (const vector of sdkVectors<KeyChainVector[]>('key_chain.json')) {
    test(vector.name, () => {
      const check = () =>
        verifyKey(
          { k256Public: bytes(vector.root) },
          vector.app_id,
          vector.purpose,
          vector.public_key,
          vector.chain.map(bytes),
        );
      if (vector.ok) assert.equal(toHex(check()), vector.app_public);
      else refuses(check);
    });
  }

  test("a key's own bytes lead to the same verdict", () => {
    const secret = sdkVectors<{ get_key: { key: string }[] }>('accounts.json').get_key.map(({ key }) =>
      bytes(key),
    );
    const chains = sdkVectors<KeyChainVector[]>('key_chain.json').filter(({ ok }) => ok);
    let verified = 0;
    for (const key of secret) {
      for (const chain of chains) {
        const algorithm = chain.public_key.length === 64 ? 'ed25519' : 'secp256k1';
        const derived = new DerivedKey(
          { path: '', purpose: chain.purpose, algorithm },
          key,
          chain.chain.map(bytes),
        );
        const check = () => verifyDerivedKey({ k256Public: bytes(chain.root) }, chain.app_id, derived);
        if (toHex(publicKeyOf(derived)) === chain.public_key) {
          assert.equal(toHex(check()), chain.app_public);
          verified += 1;
        } else refuses(check);
      }
    }
    assert.ok(verified > 0, 'no vector of accounts.json is a key of key_chain.json');
  });
});

interface SignVector {
  name: string;
  root: string;
  app_id: string;
  algorithm: SignAlgorithm;
  data: string;
  signature: string;
  signature_chain: string[];
  public_key: string;
  ok: boolean;
}

describe('answers of Sign', () => {
  for (const vector of sdkVectors<SignVector[]>('sign.json')) {
    test(vector.name, () => {
      const answer = {
        signature: bytes(vector.signature),
        signatureChain: vector.signature_chain.map(bytes),
        publicKey: bytes(vector.public_key),
      };
      const check = () =>
        verifySignature(
          { k256Public: bytes(vector.root) },
          vector.app_id,
          vector.algorithm,
          bytes(vector.data),
          answer,
        );
      if (vector.ok) assert.equal(check().length, 33);
      else refuses(check);
    });
  }
});

interface EnvKeyVector {
  name: string;
  public_key: string;
  app_id: string;
  timestamp: number;
  signature_v1: string;
  signature: string;
  root: string;
  now: number;
  ok: boolean;
  ok_legacy: boolean;
}

describe('statements about environment keys', () => {
  for (const vector of sdkVectors<EnvKeyVector[]>('env_key.json')) {
    test(vector.name, () => {
      const { public_key: key, app_id: app, timestamp, now, root } = vector;
      const check = () => verifyEnvKey(key, app, timestamp, vector.signature_v1, { expectedRoot: root, now });
      if (vector.ok) assert.equal(toHex(check()), root);
      else refuses(check);
      const legacy = () => verifyEnvKeyLegacy(key, app, vector.signature, { expectedRoot: root });
      if (vector.ok_legacy) assert.equal(toHex(legacy()), root);
      else refuses(legacy);
    });
  }

  test('an age limit of the caller replaces the default', () => {
    const [fresh] = sdkVectors<EnvKeyVector[]>('env_key.json');
    assert.ok(fresh);
    const check = (maxAge: number) =>
      verifyEnvKey(fresh.public_key, fresh.app_id, fresh.timestamp, fresh.signature_v1, {
        now: fresh.timestamp + 1000,
        maxAge,
      });
    assert.equal(toHex(check(1000)), fresh.root);
    refuses(() => check(999));
  });
});

interface Sealed {
  vars: EnvVar[];
  recipient_secret: string;
  recipient_public: string;
  ephemeral_secret: string;
  iv: string;
  plaintext: string;
  sealed: string;
}

interface SignedEnv extends Sealed {
  app_id: string;
  revision: number;
  signer_secret: string;
  signer_address: string;
  digest: string;
  envelope: string;
}

interface SignedEnvVectors {
  good: SignedEnv[];
  good_vars: { name: string; vars: EnvVar[] }[];
  bad_vars: { name: string; vars: EnvVar[] }[];
}

describe('encrypted environments', () => {
  const signed = sdkVectors<SignedEnvVectors>('env_v2.json');
  const ephemeral = (vector: Sealed) => ({ secret: bytes(vector.ephemeral_secret), iv: bytes(vector.iv) });

  sdkVectors<Sealed[]>('env_v1.json').forEach((vector, index) => {
    test(`version 1, vector ${index}`, () => {
      const sealed = sealV1(bytes(vector.plaintext), bytes(vector.recipient_public), ephemeral(vector));
      assert.equal(toHex(sealed), vector.sealed);
      assert.equal(toHex(envPlaintext(vector.vars)), vector.plaintext);
    });
  });

  signed.good.forEach((vector, index) => {
    test(`version 2, vector ${index}`, async () => {
      const revision = BigInt(vector.revision);
      const app = bytes(vector.app_id);
      const sealed = sealV2(
        bytes(vector.plaintext),
        bytes(vector.recipient_public),
        app,
        revision,
        ephemeral(vector),
      );
      assert.equal(toHex(sealed), vector.sealed);
      assert.equal(toHex(envDigest(app, revision, sealed)), vector.digest);
      assert.equal(toHex(envPlaintext(vector.vars)), vector.plaintext);
    });

    test(`version 2, vector ${index}: what was signed is the vector's signature`, async () => {
      const signature = bytes(vector.envelope).slice(17, 82);
      const recovered = secp256k1.Signature.fromBytes(signature.slice(0, 64), 'compact')
        .addRecoveryBit(signature[64] ?? 9)
        .recoverPublicKey(bytes(vector.digest))
        .toBytes(true);
      assert.equal(toHex(recovered), toHex(secp256k1.getPublicKey(bytes(vector.signer_secret), true)));
      const [made] = await envelopeSignedBy(vector, bytes(vector.signer_secret));
      assert.equal(toHex(made), toHex(recovered));
    });
  });

  /** The signer of a fresh envelope for the vector's variables, and the envelope. */
  async function envelopeSignedBy(
    vector: SignedEnv,
    signer: Parameters<typeof encryptEnvSigned>[4],
  ): Promise<[Uint8Array, Uint8Array]> {
    const envelope = await encryptEnvSigned(
      vector.vars,
      vector.recipient_public,
      vector.app_id,
      BigInt(vector.revision),
      signer,
    );
    assert.equal(toHex(envelope.slice(0, 17)), vector.envelope.slice(0, 34));
    const sealed = envelope.slice(82);
    const v = envelope[81] ?? 9;
    assert.ok(v === 0 || v === 1, `v is ${v}`);
    const signature = secp256k1.Signature.fromBytes(envelope.slice(17, 81), 'compact');
    assert.ok(!signature.hasHighS());
    const digest = envDigest(vector.app_id, vector.revision, sealed);
    return [signature.addRecoveryBit(v).recoverPublicKey(digest).toBytes(true), envelope];
  }

  test('a callback may answer with v of 27 or 28', async () => {
    const [vector] = signed.good;
    assert.ok(vector);
    const secret = bytes(vector.signer_secret);
    const callback = async (digest: Uint8Array) => {
      const recovered = secp256k1.sign(digest, secret, { prehash: false, format: 'recovered' });
      return Uint8Array.of(...recovered.slice(1), 27 + (recovered[0] ?? 0));
    };
    const [signer] = await envelopeSignedBy(vector, callback);
    assert.equal(toHex(signer), toHex(secp256k1.getPublicKey(secret, true)));
  });

  for (const [what, signer] of [
    ['of 64 bytes', () => new Uint8Array(64).fill(1)],
    ['with v 2', () => new Uint8Array(65).fill(2)],
    ['of zeros', () => new Uint8Array(65)],
    ['with a high s', (digest: Uint8Array) => highS(digest)],
  ] as const) {
    test(`a callback's signature ${what} is refused`, async () => {
      const [vector] = signed.good;
      assert.ok(vector);
      await assert.rejects(
        encryptEnvSigned(vector.vars, vector.recipient_public, vector.app_id, 1, signer),
        InputError,
      );
    });
  }

  function highS(digest: Uint8Array): Uint8Array {
    const [vector] = signed.good;
    const secret = bytes(vector?.signer_secret ?? '');
    const low = secp256k1.sign(digest, secret, { prehash: false, format: 'recovered' });
    const { r, s } = secp256k1.Signature.fromBytes(low.slice(1), 'compact');
    const high = new secp256k1.Signature(r, secp256k1.Point.Fn.ORDER - s).toBytes('compact');
    return Uint8Array.of(...high, 1 - (low[0] ?? 0));
  }

  test('a fresh version 1 opens with the recipient secret and differs each time', () => {
    const secret = x25519.utils.randomSecretKey();
    const recipient = x25519.getPublicKey(secret);
    const vars = { A: 'secret', B: '' };
    const sealed = encryptEnv(vars, recipient);
    const key = x25519.getSharedSecret(secret, sealed.slice(0, 32));
    const opened = gcm(key, sealed.slice(32, 44)).decrypt(sealed.slice(44));
    assert.deepEqual(JSON.parse(Buffer.from(opened).toString()), {
      env: [
        { key: 'A', value: 'secret' },
        { key: 'B', value: '' },
      ],
    });
    assert.notEqual(toHex(sealed), toHex(encryptEnv(vars, recipient)));
  });

  const someone = x25519.getPublicKey(new Uint8Array(32).fill(7));
  const both = async (vars: EnvVar[], recipient: Uint8Array = someone) => {
    encryptEnv(vars, recipient);
    await encryptEnvSigned(vars, recipient, new Uint8Array(20).fill(1), 1, new Uint8Array(32).fill(9));
  };
  for (const { name, vars } of signed.good_vars) {
    test(`accepted: ${name}`, () => both(vars));
  }
  for (const { name, vars } of signed.bad_vars) {
    test(`refused: ${name}`, async () => {
      refuses(() => encryptEnv(vars, someone));
      await assert.rejects(
        encryptEnvSigned(vars, someone, new Uint8Array(20).fill(1), 1, new Uint8Array(32).fill(9)),
        InputError,
      );
    });
  }

  test('keys of small order and of wrong length are refused', async () => {
    await assert.rejects(both([], new Uint8Array(32)), InputError);
    await assert.rejects(both([], Uint8Array.of(1, ...new Uint8Array(31))), InputError);
    await assert.rejects(both([], new Uint8Array(31)), InputError);
  });

  test('revisions and signers out of range are refused', async () => {
    const app = new Uint8Array(20).fill(1);
    const signer = new Uint8Array(32).fill(9);
    for (const revision of [-1, 1.5, 2 ** 60, Number.NaN, 1n << 64n]) {
      await assert.rejects(encryptEnvSigned([], someone, app, revision, signer), InputError);
    }
    await assert.rejects(encryptEnvSigned([], someone, app, 1, new Uint8Array(32)), InputError);
    await assert.rejects(encryptEnvSigned([], someone, app.slice(1), 1, signer), InputError);
    await encryptEnvSigned([], someone, app, (1n << 64n) - 1n, signer);
  });
});

interface ComposeVector {
  name: string;
  compose: string;
  normalize: boolean;
  canonical: string;
  hash: string;
}

describe('compose hashes', () => {
  for (const vector of sdkVectors<ComposeVector[]>('compose_hash.json')) {
    test(vector.name, () => {
      const { compose, normalize } = vector;
      assert.equal(canonicalCompose(compose, { normalize }), vector.canonical);
      assert.equal(composeHash(compose, { normalize }), vector.hash);
      assert.equal(composeHash(JSON.parse(compose), { normalize }), vector.hash);
    });
  }

  test('what JSON does not know becomes null, what has no place is refused', () => {
    assert.equal(
      canonicalCompose({ a: Number.NaN, b: Number.POSITIVE_INFINITY, c: undefined }),
      '{"a":null,"b":null}',
    );
    for (const compose of ['[]', '1', 'null', '{', '', '{"a":1}x']) refuses(() => composeHash(compose));
    refuses(() => composeHash({ a: () => 1 }));
  });

  test('names beyond U+FFFF come last', () => {
    assert.equal(canonicalCompose({ '\u{1f511}': 1, '\uffff': 2 }), '{"\uffff":2,"\u{1f511}":1}');
  });
});

describe('replayed registers', () => {
  for (const vector of sdkVectors<{ name: string; event_log: string; rtmrs: string[] }[]>('rtmr.json')) {
    test(vector.name, () => {
      assert.deepEqual(replayRtmrs(vector.event_log).map(toHex), vector.rtmrs);
    });
  }

  const entry = { imr: 3, event_type: 134217729, digest: '', event: 'a', event_payload: '' };
  for (const [what, log] of [
    ['no array', '{}'],
    ['no JSON', '['],
    ['a register there is none of', JSON.stringify([{ ...entry, imr: 4 }])],
    ['a short digest', JSON.stringify([{ ...entry, digest: '00' }])],
    ['a firmware event without digest', JSON.stringify([{ ...entry, imr: 0 }])],
    ['an unknown version', JSON.stringify([{ ...entry, version: 3 }])],
    ['no name', JSON.stringify([{ ...entry, event: undefined }])],
    ['4097 entries', JSON.stringify(Array.from({ length: 4097 }, () => entry))],
  ] as const) {
    test(`refused: ${what}`, () => refuses(() => replayRtmrs(log)));
  }
});

interface AccountVectors {
  get_key: { key: string; ethereum_address: string; solana_public: string }[];
  tls_key: {
    pem: string;
    ethereum_address: string;
    ethereum_address_secure: string;
    solana_public: string;
    solana_public_secure: string;
  }[];
}

describe('accounts', () => {
  const vectors = sdkVectors<AccountVectors>('accounts.json');

  vectors.get_key.forEach((vector, index) => {
    test(`of GetKey, vector ${index}`, () => {
      const key = new DerivedKey({ path: '', purpose: '', algorithm: 'secp256k1' }, bytes(vector.key), []);
      for (const account of [
        ethereumAccount(key),
        ethereumAccountSecure(key),
        ethereumAccount(bytes(vector.key)),
      ]) {
        assert.equal(account.address, vector.ethereum_address);
      }
      assert.equal(solanaAccount(key).address, vector.solana_public);
      assert.equal(solanaAccountSecure(key).address, vector.solana_public);
      assert.equal(toViemAccount(key).address, vector.ethereum_address);
      assert.equal(toKeypair(key).publicKey.toBase58(), vector.solana_public);
    });
  });

  vectors.tls_key.forEach((vector, index) => {
    test(`of GetTlsKey, vector ${index}`, () => {
      const key = new TlsKey(vector.pem, []);
      assert.equal(ethereumAccount(key).address, vector.ethereum_address);
      assert.equal(ethereumAccountSecure(key).address, vector.ethereum_address_secure);
      assert.equal(solanaAccount(key).address, vector.solana_public);
      assert.equal(solanaAccountSecure(key).address, vector.solana_public_secure);
      assert.equal(toViemAccount(key).address, vector.ethereum_address);
      assert.equal(toViemAccountSecure(key).address, vector.ethereum_address_secure);
      assert.equal(toKeypair(key).publicKey.toBase58(), vector.solana_public);
      assert.equal(toKeypairSecure(key).publicKey.toBase58(), vector.solana_public_secure);
    });
  });

  test('keys that are none are refused, and not repeated in the error', () => {
    refuses(() => ethereumAccount(new Uint8Array(32)));
    refuses(() => ethereumAccount(new Uint8Array(31).fill(1)));
    const bad = '-----BEGIN PRIVATE KEY-----\nc2VjcmV0=====\n-----END PRIVATE KEY-----';
    for (const pem of [bad, 'secret', '']) {
      assert.throws(
        () => solanaAccount(new TlsKey(pem, [])),
        (error: Error) => error instanceof InputError && !/c2Vj|secret/.test(error.message),
      );
    }
  });

  test('secrets do not print', () => {
    const [vector] = vectors.get_key;
    const [tls] = vectors.tls_key;
    assert.ok(vector && tls);
    const key = new DerivedKey({ path: 'p', purpose: '', algorithm: 'secp256k1' }, bytes(vector.key), []);
    const body = tls.pem.split('\n')[1] ?? '';
    assert.ok(body.length > 20);
    for (const secret of [key, new TlsKey(tls.pem, []), ethereumAccount(key), solanaAccount(key)]) {
      const prints = [
        String(secret),
        JSON.stringify(secret),
        inspect(secret),
        inspect({ secret }, { depth: 9, showHidden: true }),
      ];
      for (const text of prints) {
        assert.ok(!text.includes(vector.key) && !text.includes(body), text);
        assert.ok(!text.includes(bytes(vector.key).slice(0, 4).join(', ')), text);
      }
    }
  });
});

describe('answers of kmsInfo()', () => {
  for (const vector of sdkVectors<
    { name: string; return_data: string; k256_public?: string; ca_spki?: string; ok: boolean }[]
  >('kms_info.json')) {
    test(vector.name, () => {
      const decode = () => decodeKmsInfo(bytes(vector.return_data));
      if (!vector.ok) return refuses(decode);
      const root = decode();
      assert.equal(toHex(root.k256Public), vector.k256_public);
      assert.equal(toHex(root.caSpki), vector.ca_spki);
    });
  }
});
