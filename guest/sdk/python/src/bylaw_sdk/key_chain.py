"""Whose key it is: signature chains from a KMS root to a derived key."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from . import secp256k1
from .answers import KeyAnswer, SignAnswer
from .errors import InputError, VerificationError
from .hexbytes import HexOrBytes, to_bytes
from .secp256k1 import keccak256

_ISSUED = b"dstack-kms-issued:"
_SIGNING = "signing"
_SECP256K1 = ("secp256k1", "k256")
_APP_ID_BYTES = 20


@dataclass(frozen=True)
class KmsRoot:
    """The public keys of a KMS, as the chain names them.

    Attributes:
        k256_public: root of signature chains, secp256k1, compressed, 33 bytes.
        ca_spki: root of certificates, DER SubjectPublicKeyInfo.
    """

    k256_public: bytes
    ca_spki: bytes


def verify_key(
    root: KmsRoot | HexOrBytes,
    app_id: HexOrBytes,
    purpose: str,
    public_key: HexOrBytes,
    signature_chain: Sequence[HexOrBytes],
) -> bytes:
    """Proves that a KMS root issued an app's key, and that key vouched for ``public_key``.

    Args:
        root: the KMS root, or its 33-byte secp256k1 key.
        purpose: the one that was given to ``GetKey``.
        public_key: 33 bytes (secp256k1, compressed) or 32 (ed25519).
        signature_chain: the two signatures of ``GetKey``.

    Returns:
        The app's key, compressed.

    Raises:
        VerificationError: code ``key_chain``.
    """
    root_key = _root_key(root)
    app = to_bytes("app_id", app_id, _APP_ID_BYTES)
    key = to_bytes("public_key", public_key)
    if len(key) not in (32, 33):
        raise InputError(f"public_key has {len(key)} bytes, not 32 (ed25519) or 33 (secp256k1)")
    chain = [to_bytes("signature_chain", signature) for signature in signature_chain]
    if len(chain) != 2:
        raise _not_proven(f"the chain has {len(chain)} signatures, not 2")
    if not chain[1]:
        raise _not_proven("no KMS signed for the app: it runs without one")
    app_public = secp256k1.recover(chain[0], keccak256(f"{purpose}:{key.hex()}".encode()))
    if app_public is None:
        raise _not_proven("the first signature is not r || s || recovery id with low s")
    issuer = secp256k1.recover(chain[1], keccak256(_ISSUED + app + app_public))
    if issuer is None:
        raise _not_proven("the second signature is not r || s || recovery id with low s")
    if issuer != root_key:
        raise _not_proven(
            "the chain does not lead to the KMS root: another root, app, purpose or key"
        )
    return app_public


def verify_key_answer(
    root: KmsRoot | HexOrBytes,
    app_id: HexOrBytes,
    purpose: str,
    algorithm: str,
    answer: KeyAnswer,
) -> bytes:
    """As :func:`verify_key`, for the whole answer of ``GetKey``.

    Raises:
        VerificationError: code ``key_chain``.
    """
    key = derived_public_key(answer, algorithm)
    return verify_key(root, app_id, purpose, key, answer.signature_chain)


def derived_public_key(answer: KeyAnswer, algorithm: str = "secp256k1") -> bytes:
    """The public key of a ``GetKey`` answer: 33 bytes (secp256k1) or 32 (ed25519)."""
    secret = answer.key.expose()
    if algorithm in ("", *_SECP256K1):
        return secp256k1.public_key(secret)
    if algorithm == "ed25519":
        public = Ed25519PrivateKey.from_private_bytes(secret).public_key()
        return public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    raise InputError(f"algorithm {algorithm!r} is not secp256k1 or ed25519")


def verify_signature(
    root: KmsRoot | HexOrBytes,
    app_id: HexOrBytes,
    algorithm: str,
    data: HexOrBytes,
    answer: SignAnswer,
) -> bytes:
    """Proves that an app signed ``data``, and that the KMS root issued its key.

    Args:
        algorithm: ``ed25519``, ``secp256k1`` (over SHA-256 of the data) or
            ``secp256k1_prehashed`` (the data is the 32-byte digest).

    Returns:
        The app's key, compressed.

    Raises:
        VerificationError: code ``signature`` or ``key_chain``.
    """
    signature = answer.signature
    if not _signed(algorithm, to_bytes("data", data), signature, answer.public_key):
        raise VerificationError("signature", "the public key did not sign this data")
    if len(answer.signature_chain) != 3:
        raise _not_proven(f"the chain has {len(answer.signature_chain)} signatures, not 3")
    if not hmac.compare_digest(answer.signature_chain[0], signature):
        raise VerificationError("signature", "the chain begins with another signature")
    return verify_key(root, app_id, _SIGNING, answer.public_key, answer.signature_chain[1:])


def _signed(algorithm: str, data: bytes, signature: bytes, public_key: bytes) -> bool:
    if algorithm == "ed25519":
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True
    if algorithm in _SECP256K1:
        return secp256k1.verify(signature, hashlib.sha256(data).digest(), public_key)
    if algorithm == "secp256k1_prehashed":
        if len(data) != 32:
            raise InputError(f"data has {len(data)} bytes; a digest has 32")
        return secp256k1.verify(signature, data, public_key)
    raise InputError(f"algorithm {algorithm!r} is not ed25519, secp256k1 or secp256k1_prehashed")


def _root_key(root: KmsRoot | HexOrBytes) -> bytes:
    return root.k256_public if isinstance(root, KmsRoot) else to_bytes("root", root, 33)


def _not_proven(reason: str) -> VerificationError:
    return VerificationError("key_chain", reason)
