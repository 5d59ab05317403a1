"""Whose environment key it is: the KMS root's signature over it."""

from __future__ import annotations

import time

from . import secp256k1
from .errors import InputError, VerificationError
from .hexbytes import HexOrBytes, to_bytes
from .secp256k1 import keccak256

MAX_AGE_SECONDS = 300
"""Oldest signature that is accepted by default."""
FUTURE_SECONDS = 60
"""How far a KMS's clock may be ahead."""

_TAG = b"dstack-env-encrypt-pubkey:"


def verify_env_key(
    public_key: HexOrBytes,
    app_id: HexOrBytes,
    timestamp: int,
    signature_v1: HexOrBytes,
    expected_root: HexOrBytes | None = None,
    now: float | None = None,
    max_age: float = MAX_AGE_SECONDS,
) -> bytes:
    """Proves who signed an app's environment key, and when.

    Args:
        public_key: X25519, 32 bytes.
        timestamp: Unix seconds, as the KMS answered.
        expected_root: the KMS's secp256k1 root. Without it *any* signer passes and the
            caller must compare the result with a root that it trusts.
        now: Unix seconds; default: the clock.
        max_age: seconds.

    Returns:
        The signer's key, compressed, 33 bytes.

    Raises:
        VerificationError: code ``env_key``.
    """
    if not isinstance(timestamp, int) or isinstance(timestamp, bool) or not 0 <= timestamp < 2**64:
        raise InputError("timestamp must be whole Unix seconds")
    now = time.time() if now is None else now
    if timestamp > now + FUTURE_SECONDS:
        raise VerificationError("env_key", f"it was signed in the future, at {timestamp}")
    if now - timestamp > max_age:
        raise VerificationError(
            "env_key", f"it was signed {now - timestamp:.0f} s ago; the limit is {max_age:g}"
        )
    key, app = _key_and_app(public_key, app_id)
    message = _TAG + app + timestamp.to_bytes(8, "big") + key
    return _signer(message, signature_v1, expected_root)


def verify_env_key_legacy(
    public_key: HexOrBytes,
    app_id: HexOrBytes,
    signature: HexOrBytes,
    expected_root: HexOrBytes | None = None,
) -> bytes:
    """As :func:`verify_env_key` for the form without time: it may be replayed for ever.

    Raises:
        VerificationError: code ``env_key``.
    """
    key, app = _key_and_app(public_key, app_id)
    return _signer(_TAG + app + key, signature, expected_root)


def _key_and_app(public_key: HexOrBytes, app_id: HexOrBytes) -> tuple[bytes, bytes]:
    return to_bytes("public_key", public_key, 32), to_bytes("app_id", app_id, 20)


def _signer(message: bytes, signature: HexOrBytes, expected_root: HexOrBytes | None) -> bytes:
    signer = secp256k1.recover(to_bytes("signature", signature), keccak256(message))
    if signer is None:
        raise VerificationError(
            "env_key", "the signature is not r || s || recovery id (0 or 1) with low s"
        )
    if expected_root is not None and signer != to_bytes("expected_root", expected_root, 33):
        raise VerificationError("env_key", "the expected KMS root did not sign this key")
    return signer
