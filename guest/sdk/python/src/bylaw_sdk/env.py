"""Encrypted environments: version 1 (secret) and 2 (secret, and signed by its sender)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_abi.abi import encode as abi_encode

from . import secp256k1
from .errors import InputError
from .hexbytes import HexOrBytes, to_bytes
from .secp256k1 import keccak256
from .secret import Secret

Variables = Mapping[str, str] | Iterable[tuple[str, str]]
"""Names and values, in the order in which they are written."""
Signer = HexOrBytes | Secret[bytes] | Callable[[bytes], bytes]
"""A 32-byte secp256k1 key, or a function that signs a 32-byte digest: 65 bytes, ``r || s
|| v``, where v is 0, 1, 27 or 28."""

MAX_NAME_CHARACTERS = 255
MAX_VALUE_BYTES = 128 * 1024
MAX_FILE_BYTES = 256 * 1024

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_IV_BYTES = 12
_MAGIC = b"BYLAWENV\x02"
_SALT = b"bylaw-env-v2"
_DOMAIN_TYPE = keccak256(b"EIP712Domain(string name,string version,address verifyingContract)")
_DOMAIN_NAME = keccak256(b"Bylaw environment")
_DOMAIN_VERSION = keccak256(b"2")
_MESSAGE_TYPE = keccak256(b"EncryptedEnvironment(uint64 revision,bytes32 sealed)")


def encrypt_env(variables: Variables, recipient_public: HexOrBytes) -> bytes:
    """Version 1: only the app can read it; who made it stays open.

    Args:
        recipient_public: the app's X25519 key, proven by
            :func:`~bylaw_sdk.verify_env_key`.

    Returns:
        ephemeral key || IV || ciphertext and tag.

    Raises:
        InputError: a name or value that a guest refuses, or an unusable key.
    """
    recipient = to_bytes("recipient_public", recipient_public, 32)
    sealed = _seal(recipient, plaintext(variables), _fresh_key(), os.urandom(_IV_BYTES))
    return _checked_size(sealed)


def encrypt_env_signed(
    variables: Variables,
    recipient_public: HexOrBytes,
    app_id: HexOrBytes,
    revision: int,
    signer: Signer,
) -> bytes:
    """Version 2: as version 1, and the app learns who sent it, for which app, in which order.

    Args:
        revision: a guest refuses one below the least its manifest allows, or below the
            last it has seen.
        signer: one of the ``signers`` in the app's manifest.

    Returns:
        The envelope.

    Raises:
        InputError: a name or value that a guest refuses, an unusable key or signature.
    """
    recipient = to_bytes("recipient_public", recipient_public, 32)
    app = to_bytes("app_id", app_id, 20)
    _check_revision(revision)
    sealed = _seal_signed(
        recipient, plaintext(variables), app, revision, _fresh_key(), os.urandom(_IV_BYTES)
    )
    signature = _sign(signer, envelope_digest(app, revision, sealed))
    return _checked_size(_head(revision) + signature + sealed)


def envelope_digest(app_id: bytes, revision: int, sealed: bytes) -> bytes:
    """The EIP-712 digest that the sender of a version 2 environment signs."""
    domain = keccak256(
        abi_encode(
            ["bytes32", "bytes32", "bytes32", "address"],
            [_DOMAIN_TYPE, _DOMAIN_NAME, _DOMAIN_VERSION, app_id],
        )
    )
    message = keccak256(
        abi_encode(["bytes32", "uint64", "bytes32"], [_MESSAGE_TYPE, revision, keccak256(sealed)])
    )
    return keccak256(b"\x19\x01" + domain + message)


def plaintext(variables: Variables) -> bytes:
    """The JSON that is encrypted.

    Raises:
        InputError: names the variable that a guest would refuse, never its value.
    """
    pairs = list(variables.items() if isinstance(variables, Mapping) else variables)
    seen: set[str] = set()
    for index, pair in enumerate(pairs):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise InputError(f"variable {index} is not a pair of name and value")
        name, value = pair
        _check_name(name, index)
        if name in seen:
            raise InputError(f"variable {name} is given twice")
        seen.add(name)
        _check_value(name, value)
    listed = [{"key": name, "value": value} for name, value in pairs]
    return json.dumps({"env": listed}, ensure_ascii=False, separators=(",", ":")).encode()


def _check_name(name: object, index: int) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"variable {index}: its name must be letters, digits and underscores (ASCII), "
            "not beginning with a digit"
        )
    if len(name) > MAX_NAME_CHARACTERS:
        raise InputError(
            f"variable {index}: its name has {len(name)} characters; "
            f"the limit is {MAX_NAME_CHARACTERS}"
        )


def _check_value(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InputError(f"variable {name}: its value is not text")
    try:
        length = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        # The library's error would quote the value.
        raise InputError(f"variable {name}: its value is not Unicode text") from None
    if length > MAX_VALUE_BYTES:
        raise InputError(
            f"variable {name}: its value has {length} bytes; the limit is {MAX_VALUE_BYTES}"
        )
    if "\0" in value:
        raise InputError(f"variable {name}: its value contains a NUL byte")


def _check_revision(revision: object) -> None:
    if not isinstance(revision, int) or isinstance(revision, bool) or not 0 <= revision < 2**64:
        raise InputError("revision must be a whole number from 0 to 2^64 - 1")


def _checked_size(file: bytes) -> bytes:
    if len(file) > MAX_FILE_BYTES:
        raise InputError(
            f"the encrypted environment has {len(file)} bytes; the limit is {MAX_FILE_BYTES}"
        )
    return file


def _fresh_key() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


def _raw_public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _shared(recipient: bytes, ephemeral: X25519PrivateKey) -> bytes:
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    except ValueError:
        shared = bytes(32)
    if shared == bytes(32):
        raise InputError("recipient_public is of low order: anybody could read what it seals")
    return shared


def _seal(recipient: bytes, text: bytes, ephemeral: X25519PrivateKey, iv: bytes) -> bytes:
    key = _shared(recipient, ephemeral)
    return _raw_public(ephemeral) + iv + AESGCM(key).encrypt(iv, text, None)


def _head(revision: int) -> bytes:
    return _MAGIC + revision.to_bytes(8, "big")


def _seal_signed(
    recipient: bytes,
    text: bytes,
    app_id: bytes,
    revision: int,
    ephemeral: X25519PrivateKey,
    iv: bytes,
) -> bytes:
    shared = _shared(recipient, ephemeral)
    info = _raw_public(ephemeral) + recipient + app_id
    key = HKDF(algorithm=SHA256(), length=32, salt=_SALT, info=info).derive(shared)
    associated = _head(revision) + app_id
    return _raw_public(ephemeral) + iv + AESGCM(key).encrypt(iv, text, associated)


def _sign(signer: Signer, digest: bytes) -> bytes:
    if isinstance(signer, Secret):
        return secp256k1.sign(signer.expose(), digest)
    if not callable(signer):
        return secp256k1.sign(to_bytes("signer", signer, 32), digest)
    signature = to_bytes("the signer's signature", signer(digest), 65)
    v = signature[64]
    if v in (27, 28):
        v -= 27
    signature = signature[:64] + bytes([v])
    if secp256k1.recover(signature, digest) is None:
        raise InputError(
            "the signer's signature is not r || s || v over the digest, with low s and v "
            "0, 1, 27 or 28"
        )
    return signature
