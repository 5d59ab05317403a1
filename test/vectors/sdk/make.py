#!/usr/bin/env python3
"""Makes the deterministic vectors of this folder, with none of Bylaw's own code.

    pip install eth-account cryptography base58
    python3 make.py [name ...]

Running it again gives the same bytes. `evidence.json` and `certificate.json` are made by
`cargo run -p bylaw-e2e --bin sdk-vectors`, since they need a TEE.
"""

import hashlib
import json
import pathlib
import sys

import base58
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives import serialization as ser
from eth_abi import encode as abi_encode
from eth_account import Account
from eth_keys import keys
from eth_utils import keccak

from texts import APP, OTHER_APP, compose_hash, env_v1, env_v2, rtmr

HERE = pathlib.Path(__file__).parent
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


# The hierarchy, as the keys reference describes it.

def derive(ikm, *parts):
    return HKDF(SHA256(), 32, b"RATLS", b"".join(parts)).derive(ikm)


def public33(secret):
    return keys.PrivateKey(secret).public_key.to_compressed_bytes()


def sign65(secret, message):
    """r || s || recovery id over Keccak-256, deterministic, low s."""
    return keys.PrivateKey(secret).sign_msg_hash(keccak(message)).to_bytes()


def ed_public(seed):
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    return key.public_key().public_bytes(ser.Encoding.Raw, ser.PublicFormat.Raw)


def ed_sign(seed, data):
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed).sign(data)


ROOT = bytes([2] * 32)
OTHER_ROOT = bytes([5] * 32)
APP_KEY = derive(ROOT, APP, b"app-key")
OTHER_APP_KEY = derive(ROOT, OTHER_APP, b"app-key")


def issued(root, app_id, app_key):
    return sign65(root, b"dstack-kms-issued:" + app_id + public33(app_key))


def key_signature(app_key, purpose, public):
    return sign65(app_key, purpose.encode() + b":" + public.hex().encode())


# Ways to spoil a 65-byte signature.

def flipped(data, position=0):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1:]


def high_s(signature):
    """The same signature's other form: s negated, and with it the recovery id."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([signature[64] ^ 1])


def spoiled(signature):
    return {
        "one bit of r flipped": flipped(signature, 31),
        "one bit of s flipped": flipped(signature, 63),
        "the other recovery id": flipped(signature, 64),
        "recovery id 2": signature[:64] + b"\x02",
        "recovery id 27": signature[:64] + bytes([signature[64] + 27]),
        "high s": high_s(signature),
        "64 bytes": signature[:64],
        "66 bytes": signature + b"\x00",
        "empty": b"",
        "all zero": bytes(65),
        "r not below the order": ORDER.to_bytes(32, "big") + signature[32:],
    }


def key_chain():
    good = []
    for path, purpose, algorithm in [
        ("wallet", "", "secp256k1"),
        ("wallet", "mainnet", "secp256k1"),
        ("", "signing", "secp256k1"),
        ("wallet", "mainnet", "ed25519"),
        ("pfad/\u00e4\u6f22", "zweck: \u00e4", "secp256k1"),
    ]:
        secret = derive(APP_KEY, path.encode())
        public = ed_public(secret) if algorithm == "ed25519" else public33(secret)
        good.append({
            "name": f"{algorithm} at {path!r} for {purpose!r}",
            "root": public33(ROOT).hex(),
            "app_id": APP.hex(),
            "purpose": purpose,
            "public_key": public.hex(),
            "chain": [key_signature(APP_KEY, purpose, public).hex(),
                      issued(ROOT, APP, APP_KEY).hex()],
            "ok": True,
            "app_public": public33(APP_KEY).hex(),
        })
    base = good[1]
    chain = [bytes.fromhex(item) for item in base["chain"]]
    public = bytes.fromhex(base["public_key"])

    def bad(name, **changes):
        case = {**base, **changes, "name": name, "ok": False}
        del case["app_public"]
        return case

    cases = good + [
        bad("another root", root=public33(OTHER_ROOT).hex()),
        bad("the root is the app's key", root=base["app_public"]),
        bad("another app", app_id=OTHER_APP.hex()),
        bad("app id of 19 bytes", app_id=APP[:19].hex()),
        bad("another purpose", purpose="testnet"),
        bad("empty purpose", purpose=""),
        bad("another public key", public_key=flipped(public, 32).hex()),
        bad("public key cut", public_key=public[:32].hex()),
        bad("key issued by another root", chain=[
            base["chain"][0], issued(OTHER_ROOT, APP, APP_KEY).hex()]),
        bad("key of another app, its chain whole", chain=[
            key_signature(OTHER_APP_KEY, "mainnet", public).hex(),
            issued(ROOT, OTHER_APP, OTHER_APP_KEY).hex()]),
        bad("signed by another app's key", chain=[
            key_signature(OTHER_APP_KEY, "mainnet", public).hex(), base["chain"][1]]),
        bad("signatures swapped", chain=base["chain"][::-1]),
        bad("no second signature, as without a KMS", chain=[base["chain"][0], ""]),
        bad("one signature", chain=base["chain"][:1]),
        bad("three signatures", chain=base["chain"] + [base["chain"][1]]),
        bad("no signatures", chain=[]),
    ]
    for position, which in enumerate(["app signature", "root signature"]):
        for name, signature in spoiled(chain[position]).items():
            changed = list(base["chain"])
            changed[position] = signature.hex()
            cases.append(bad(f"{which}: {name}", chain=changed))
    return cases


def sign():
    secret = derive(APP_KEY, b"vms")

    def answer(algorithm, data):
        if algorithm == "ed25519":
            public, signature = ed_public(secret), ed_sign(secret, data)
        else:
            digest = data if algorithm == "secp256k1_prehashed" else hashlib.sha256(data).digest()
            public = public33(secret)
            signature = keys.PrivateKey(secret).sign_msg_hash(digest).to_bytes()[:64]
        return {
            "name": f"{algorithm} over {len(data)} bytes",
            "root": public33(ROOT).hex(),
            "app_id": APP.hex(),
            "algorithm": algorithm,
            "data": data.hex(),
            "signature": signature.hex(),
            "signature_chain": [signature.hex(), key_signature(APP_KEY, "signing", public).hex(),
                                issued(ROOT, APP, APP_KEY).hex()],
            "public_key": public.hex(),
            "ok": True,
        }

    digest = hashlib.sha256(b"a digest").digest()
    good = [answer("ed25519", b"hello"), answer("ed25519", b""), answer("secp256k1", b"hello"),
            answer("k256", b"hello"), answer("secp256k1", bytes(range(256)) * 8),
            answer("secp256k1_prehashed", digest)]
    edwards, koblitz, prehashed = good[0], good[2], good[5]
    signature = bytes.fromhex(koblitz["signature"])
    high = high_s(signature + b"\x00")[:64].hex()

    def bad(name, base, **changes):
        case = {**base, **changes, "name": name, "ok": False}
        # The first link repeats the signature, unless the case is about just that.
        if "signature" in changes and "signature_chain" not in changes:
            case["signature_chain"] = [changes["signature"], *base["signature_chain"][1:]]
        return case

    stranger = bytes([7] * 32)
    cases = list(good)
    for base in (edwards, koblitz, prehashed):
        kind = base["algorithm"]
        raw = bytes.fromhex(base["signature"])
        chain = base["signature_chain"]
        cases += [
            bad(f"{kind}: other data", base, data=flipped(bytes.fromhex(base["data"])).hex()),
            bad(f"{kind}: r changed", base, signature=flipped(raw, 5).hex()),
            bad(f"{kind}: s changed", base, signature=flipped(raw, 40).hex()),
            bad(f"{kind}: signature cut", base, signature=raw[:63].hex()),
            bad(f"{kind}: empty signature", base, signature=""),
            bad(f"{kind}: the chain begins with another signature", base,
                signature_chain=[flipped(raw, 5).hex(), *chain[1:]]),
            bad(f"{kind}: another app", base, app_id=OTHER_APP.hex()),
            bad(f"{kind}: another root", base, root=public33(OTHER_ROOT).hex()),
            bad(f"{kind}: chain of two", base, signature_chain=chain[:2]),
            bad(f"{kind}: chain without the root's signature", base,
                signature_chain=[*chain[:2], ""]),
            bad(f"{kind}: key signed for another purpose", base, signature_chain=[
                chain[0],
                key_signature(APP_KEY, "mainnet", bytes.fromhex(base["public_key"])).hex(),
                chain[2]]),
        ]
    stolen = keys.PrivateKey(stranger).sign_msg_hash(hashlib.sha256(b"hello").digest())
    cases += [
        bad("valid signature by a key outside the chain", koblitz,
            signature=stolen.to_bytes()[:64].hex(), public_key=public33(stranger).hex()),
        bad("secp256k1: high s", koblitz, signature=high),
        bad("secp256k1: uncompressed public key", koblitz,
            public_key="04" + keys.PrivateKey(secret).public_key.to_bytes().hex()),
        bad("secp256k1: named ed25519", koblitz, algorithm="ed25519"),
        bad("secp256k1: named secp256k1_prehashed", koblitz, algorithm="secp256k1_prehashed"),
        bad("ed25519: named secp256k1", edwards, algorithm="secp256k1"),
        bad("prehashed: named secp256k1", prehashed, algorithm="secp256k1"),
        bad("prehashed: digest of 31 bytes", prehashed, data=digest[:31].hex()),
        bad("an algorithm there is none of", koblitz, algorithm="rsa"),
        bad("empty algorithm", koblitz, algorithm=""),
    ]
    return cases


def env_key():
    public = bytes.fromhex("9aee1a85448856ea10b5e4bda49b2be7a3cb9cc23bc3e4462da284f4fd62f81c")
    at = 1_790_000_000

    def legacy(root, app_id, key):
        return sign65(root, b"dstack-env-encrypt-pubkey:" + app_id + key)

    def stamped(root, app_id, key, timestamp):
        return sign65(root, b"dstack-env-encrypt-pubkey:" + app_id
                      + timestamp.to_bytes(8, "big") + key)

    base = {
        "name": "signed just now",
        "public_key": public.hex(),
        "app_id": APP.hex(),
        "timestamp": at,
        "signature_v1": stamped(ROOT, APP, public, at).hex(),
        "signature": legacy(ROOT, APP, public).hex(),
        "root": public33(ROOT).hex(),
        "now": at + 1,
        "ok": True,
        "ok_legacy": True,
    }

    def case(name, ok, ok_legacy, **changes):
        return {**base, **changes, "name": name, "ok": ok, "ok_legacy": ok_legacy}

    cases = [
        base,
        case("300 s old", True, True, now=at + 300),
        case("301 s old", False, True, now=at + 301),
        case("a day old", False, True, now=at + 86400),
        case("60 s ahead", True, True, now=at - 60),
        case("61 s ahead", False, True, now=at - 61),
        case("timestamp of another signature", False, True, timestamp=at + 1),
        case("timestamp 0", False, True, timestamp=0),
        case("another app", False, False, app_id=OTHER_APP.hex()),
        case("another root", False, False, root=public33(OTHER_ROOT).hex()),
        case("another key", False, False, public_key=flipped(public).hex()),
        case("key of 31 bytes", False, False, public_key=public[:31].hex()),
        case("signatures swapped", False, False, signature_v1=base["signature"],
             signature=base["signature_v1"]),
        case("signed by another root", False, False,
             signature_v1=stamped(OTHER_ROOT, APP, public, at).hex(),
             signature=legacy(OTHER_ROOT, APP, public).hex()),
    ]
    stamped_good = bytes.fromhex(base["signature_v1"])
    legacy_good = bytes.fromhex(base["signature"])
    for name in spoiled(stamped_good):
        cases.append(case(f"both signatures: {name}", False, False,
                          signature_v1=spoiled(stamped_good)[name].hex(),
                          signature=spoiled(legacy_good)[name].hex()))
    return cases


def accounts():
    get_key = []
    for path in ["wallet", "", "other"]:
        key = derive(APP_KEY, path.encode())
        get_key.append({
            "key": key.hex(),
            "ethereum_address": Account.from_key(key).address,
            "solana_public": base58.b58encode(ed_public(key)).decode(),
        })
    tls_key = []
    for number in range(1, 4):
        scalar = int.from_bytes(hashlib.sha256(b"tls key %d" % number).digest(), "big")
        key = ec.derive_private_key(scalar, ec.SECP256R1())
        der = key.private_bytes(ser.Encoding.DER, ser.PrivateFormat.PKCS8, ser.NoEncryption())
        pem = key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
        first, hashed = der[:32], hashlib.sha256(der).digest()
        tls_key.append({
            "pem": pem.decode(),
            "ethereum_address": Account.from_key(first).address,
            "ethereum_address_secure": Account.from_key(hashed).address,
            "solana_public": base58.b58encode(ed_public(first)).decode(),
            "solana_public_secure": base58.b58encode(ed_public(hashed)).decode(),
        })
    return {"get_key": get_key, "tls_key": tls_key}


def kms_info():
    k256 = public33(ROOT)
    ca = ec.derive_private_key(int.from_bytes(bytes([1] * 32), "big"), ec.SECP256R1())
    spki = ca.public_key().public_bytes(ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo)

    def answer(*fields):
        return abi_encode(["bytes"] * 4, fields)

    def good(name, data):
        return {"name": name, "return_data": data.hex(), "k256_public": k256.hex(),
                "ca_spki": spki.hex(), "ok": True}

    def bad(name, data):
        return {"name": name, "return_data": data.hex(), "ok": False}

    whole = answer(k256, spki, b"", b"")
    return [
        good("without quote and event log", whole),
        good("with quote and event log", answer(k256, spki, bytes(range(200)), b"[]" * 40)),
        bad("nothing set", answer(b"", b"", b"", b"")),
        bad("no secp256k1 key", answer(b"", spki, b"", b"")),
        bad("no CA key", answer(k256, b"", b"", b"")),
        bad("secp256k1 key of 32 bytes", answer(k256[:32], spki, b"", b"")),
        bad("secp256k1 key uncompressed",
            answer(b"\x04" + keys.PrivateKey(ROOT).public_key.to_bytes(), spki, b"", b"")),
        bad("secp256k1 key that is no point", answer(b"\x02" + b"\xff" * 32, spki, b"", b"")),
        bad("CA key that is no SubjectPublicKeyInfo", answer(k256, b"\x30\x03\x02\x01\x00", b"", b"")),
        bad("CA key with a byte after it", answer(k256, spki + b"\x00", b"", b"")),
        bad("no contract there", b""),
        bad("answer cut", whole[:160]),
        bad("offset beyond the end", (2**255).to_bytes(32, "big") + whole[32:]),
        bad("length beyond the end", whole[:128] + (2**64).to_bytes(32, "big") + whole[160:]),
    ]


MAKERS = [key_chain, sign, env_key, env_v1, env_v2, compose_hash, rtmr, accounts, kms_info]

if __name__ == "__main__":
    for maker in MAKERS:
        if len(sys.argv) == 1 or maker.__name__ in sys.argv[1:]:
            text = json.dumps(maker(), indent=1, ensure_ascii=False) + "\n"
            (HERE / f"{maker.__name__}.json").write_text(text)
