"""Environments that are not sealed, and keys that are not believed."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bylaw_sdk import (
    InputError,
    VerificationError,
    encrypt_env,
    encrypt_env_signed,
    secp256k1,
    verify_env_key,
)

RECIPIENT = bytes([9]) + bytes(31)
SECRET = bytes(31) + b"\x07"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
LOW_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
]


@pytest.mark.parametrize("recipient", LOW_ORDER)
def test_keys_of_low_order(recipient: str) -> None:
    with pytest.raises(InputError, match="low order"):
        encrypt_env({"A": "1"}, recipient)
    with pytest.raises(InputError, match="low order"):
        encrypt_env_signed({"A": "1"}, recipient, bytes(20), 1, SECRET)


@pytest.mark.parametrize("revision", [-1, 2**64, 1.0, "1", True, None])
def test_revisions(revision: Any) -> None:
    with pytest.raises(InputError, match="revision"):
        encrypt_env_signed({}, RECIPIENT, bytes(20), revision, SECRET)


def test_the_largest_revision() -> None:
    envelope = encrypt_env_signed({}, RECIPIENT, bytes(20), 2**64 - 1, SECRET)
    assert envelope[:17] == b"BYLAWENV\x02" + b"\xff" * 8


@pytest.mark.parametrize(
    ("recipient", "app_id"), [(bytes(31), bytes(20)), (RECIPIENT, bytes(19)), ("zz", bytes(20))]
)
def test_lengths(recipient: Any, app_id: bytes) -> None:
    with pytest.raises(InputError):
        encrypt_env_signed({}, recipient, app_id, 1, SECRET)


def high_s(digest: bytes) -> bytes:
    signature = secp256k1.sign(SECRET, digest)
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([signature[64] ^ 1])


@pytest.mark.parametrize(
    "signer",
    [
        bytes(32),
        ORDER.to_bytes(32, "big"),
        bytes(31),
        "zz",
        lambda digest: bytes(65),
        lambda digest: secp256k1.sign(SECRET, digest)[:64],
        lambda digest: secp256k1.sign(SECRET, digest)[:64] + b"\x02",
        lambda digest: secp256k1.sign(SECRET, digest)[:64] + b"\x1d",
        lambda digest: None,
        high_s,
    ],
    ids=range(10),
)
def test_signers(signer: Any) -> None:
    with pytest.raises(InputError):
        encrypt_env_signed({"A": "1"}, RECIPIENT, bytes(20), 1, signer)


@pytest.mark.parametrize(
    "variables",
    [
        [("A", "hidden\0")],
        [("A", "hidden" * 100_000)],
        [("A", "hidden\ud800")],
        [("A", "hidden"), ("A", "hidden")],
        [("A", b"hidden")],
        [("A", None)],
        [("hidden hidden", "x")],
        [(7, "hidden")],
        [["A", "hidden"]],
        [("A", "hidden", "more")],
        ["AB"],
    ],
    ids=range(11),
)
def test_errors_never_show_values(variables: Any) -> None:
    with pytest.raises(InputError) as caught:
        encrypt_env(variables, RECIPIENT)
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_files_size_is_limited_not_the_variables_alone() -> None:
    # Two values of the largest size fit neither the plaintext nor the file.
    fits = {"A": "x" * 131_072, "B": "y" * (131_072 - 200)}
    assert len(encrypt_env(fits, RECIPIENT)) <= 262_144
    with pytest.raises(InputError, match="262144"):
        encrypt_env({**fits, "C": "z" * 200}, RECIPIENT)


@pytest.mark.parametrize("timestamp", [-1, 2**64, 1.5, True, "1"])
def test_timestamps(timestamp: Any) -> None:
    with pytest.raises(InputError):
        verify_env_key(RECIPIENT, bytes(20), timestamp, bytes(65), now=0)


def test_a_signature_of_now_by_the_clock() -> None:
    now = int(time.time())
    message = b"dstack-env-encrypt-pubkey:" + bytes(20) + now.to_bytes(8, "big") + RECIPIENT
    signature = secp256k1.sign(SECRET, secp256k1.keccak256(message))
    signer = secp256k1.public_key(SECRET)
    assert verify_env_key(RECIPIENT, bytes(20), now, signature) == signer
    assert verify_env_key(RECIPIENT, bytes(20), now, signature, signer) == signer
    other = secp256k1.public_key(bytes(31) + b"\x08")
    refused: list[dict[str, Any]] = [
        {"expected_root": other},
        {"now": now + 301},
        {"now": now + 11, "max_age": 10},
        {"now": now - 61},
    ]
    for arguments in refused:
        with pytest.raises(VerificationError) as caught:
            verify_env_key(RECIPIENT, bytes(20), now, signature, **arguments)
        assert caught.value.code == "env_key"
