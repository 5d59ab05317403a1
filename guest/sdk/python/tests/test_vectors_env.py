"""env_v1.json and env_v2.json."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bylaw_sdk import InputError, Secret, encrypt_env, encrypt_env_signed, env, secp256k1

from .vectors import load, named

V1 = load("env_v1")
V2 = load("env_v2")
GOOD = V2["good"]


def pairs(case: dict[str, Any]) -> list[tuple[str, str]]:
    return [(variable["key"], variable["value"]) for variable in case["vars"]]


def x25519(hexadecimal: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(hexadecimal))


def open_v1(secret: str, sealed: bytes) -> bytes:
    """Opens a version 1 environment, independently of the code under test."""
    shared = x25519(secret).exchange(X25519PublicKey.from_public_bytes(sealed[:32]))
    return AESGCM(shared).decrypt(sealed[32:44], sealed[44:], None)


def open_v2(case: dict[str, Any], envelope: bytes) -> bytes:
    """Opens a version 2 environment as a guest does, independently of the code under test."""
    app_id = bytes.fromhex(case["app_id"])
    assert envelope[:9] == b"BYLAWENV\x02"
    revision = int.from_bytes(envelope[9:17], "big")
    assert revision == case["revision"]
    signature, sealed = envelope[17:82], envelope[82:]
    signer = secp256k1.recover(signature, env.envelope_digest(app_id, revision, sealed))
    assert signer is not None
    assert secp256k1.ethereum_address(signer).hex() == case["signer_address"]
    shared = x25519(case["recipient_secret"]).exchange(
        X25519PublicKey.from_public_bytes(sealed[:32])
    )
    info = sealed[:32] + bytes.fromhex(case["recipient_public"]) + app_id
    key = HKDF(SHA256(), 32, b"bylaw-env-v2", info).derive(shared)
    return AESGCM(key).decrypt(sealed[32:44], sealed[44:], envelope[:17] + app_id)


@pytest.mark.parametrize("case", V1, ids=named(V1))
def test_v1(case: dict[str, Any]) -> None:
    assert env.plaintext(pairs(case)).hex() == case["plaintext"]
    sealed = env._seal(
        bytes.fromhex(case["recipient_public"]),
        bytes.fromhex(case["plaintext"]),
        x25519(case["ephemeral_secret"]),
        bytes.fromhex(case["iv"]),
    )
    assert sealed.hex() == case["sealed"]
    fresh = encrypt_env(pairs(case), case["recipient_public"])
    assert fresh != encrypt_env(pairs(case), case["recipient_public"])
    assert open_v1(case["recipient_secret"], fresh).hex() == case["plaintext"]


@pytest.mark.parametrize("case", GOOD, ids=named(GOOD))
def test_v2(case: dict[str, Any]) -> None:
    app_id, revision = bytes.fromhex(case["app_id"]), case["revision"]
    sealed = env._seal_signed(
        bytes.fromhex(case["recipient_public"]),
        env.plaintext(pairs(case)),
        app_id,
        revision,
        x25519(case["ephemeral_secret"]),
        bytes.fromhex(case["iv"]),
    )
    assert sealed.hex() == case["sealed"]
    digest = env.envelope_digest(app_id, revision, sealed)
    assert digest.hex() == case["digest"]
    signature = env._sign(case["signer_secret"], digest)
    assert (env._head(revision) + signature + sealed).hex() == case["envelope"]


@pytest.mark.parametrize("case", GOOD, ids=named(GOOD))
@pytest.mark.parametrize("kind", ["bytes", "hex", "secret", "callback", "callback of wallets"])
def test_v2_with_every_signer(case: dict[str, Any], kind: str) -> None:
    secret = bytes.fromhex(case["signer_secret"])

    def wallet(digest: bytes) -> bytes:
        signature = secp256k1.sign(secret, digest)
        return signature[:64] + bytes([signature[64] + 27])

    signers: dict[str, env.Signer] = {
        "bytes": secret,
        "hex": secret.hex(),
        "secret": Secret(secret),
        "callback": lambda digest: secp256k1.sign(secret, digest),
        "callback of wallets": wallet,
    }
    envelope = encrypt_env_signed(
        pairs(case), case["recipient_public"], case["app_id"], case["revision"], signers[kind]
    )
    assert open_v2(case, envelope).hex() == case["plaintext"]


@pytest.mark.parametrize("case", V2["good_vars"], ids=named(V2["good_vars"]))
def test_good_variables(case: dict[str, Any]) -> None:
    recipient = GOOD[0]
    assert encrypt_env(pairs(case), recipient["recipient_public"])
    assert encrypt_env_signed(
        dict(pairs(case)), recipient["recipient_public"], bytes(20), 1, recipient["signer_secret"]
    )


@pytest.mark.parametrize("case", V2["bad_vars"], ids=named(V2["bad_vars"]))
def test_bad_variables(case: dict[str, Any]) -> None:
    recipient = GOOD[0]
    with pytest.raises(InputError):
        encrypt_env(pairs(case), recipient["recipient_public"])
    with pytest.raises(InputError):
        encrypt_env_signed(
            pairs(case), recipient["recipient_public"], bytes(20), 1, recipient["signer_secret"]
        )
