"""secp256k1 by libsecp256k1, with the forms and limits that Bylaw has."""

from __future__ import annotations

from coincurve import PrivateKey, PublicKey
from Crypto.Hash import keccak

from .errors import InputError

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_COMPRESSED_BYTES = 33


def keccak256(data: bytes) -> bytes:
    """Keccak-256, as Ethereum has it."""
    return keccak.new(digest_bits=256, data=data).digest()


def recover(signature: bytes, digest: bytes) -> bytes | None:
    """The compressed key that made ``r || s || recovery id`` over a 32-byte digest.

    ``None`` unless there is one, with low s and recovery id 0 or 1.
    """
    if len(signature) != 65 or len(digest) != 32 or signature[64] > 1 or not _is_low_s(signature):
        return None
    try:
        key = PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except Exception:  # noqa: BLE001 - the library raises bare exceptions
        return None
    return key.format(compressed=True)


def verify(signature: bytes, digest: bytes, public_key: bytes) -> bool:
    """Whether ``r || s`` (low s) over a 32-byte digest is by this compressed key."""
    if len(signature) != 64 or len(public_key) != _COMPRESSED_BYTES:
        return False
    # With the right recovery id, recovery yields the signer; one of two is enough.
    return any(recover(signature + bytes([recovery]), digest) == public_key for recovery in (0, 1))


def sign(secret: bytes, digest: bytes) -> bytes:
    """``r || s || recovery id`` over a 32-byte digest: deterministic, low s."""
    return private_key(secret).sign_recoverable(digest, hasher=None)


def public_key(secret: bytes) -> bytes:
    """The compressed public key of a 32-byte scalar."""
    return private_key(secret).public_key.format(compressed=True)


def private_key(secret: bytes) -> PrivateKey:
    """A 32-byte scalar as a key.

    Raises:
        InputError: zero, too large, or of another length.
    """
    if len(secret) != 32 or not 0 < int.from_bytes(secret, "big") < _ORDER:
        raise InputError("not a secp256k1 secret key: 32 bytes, above zero, below the order")
    return PrivateKey(secret)


def is_public_key(compressed: bytes) -> bool:
    """Whether these 33 bytes are a point of the curve."""
    if len(compressed) != _COMPRESSED_BYTES:
        return False
    try:
        PublicKey(compressed)
    except Exception:  # noqa: BLE001 - the library raises bare exceptions
        return False
    return True


def ethereum_address(compressed: bytes) -> bytes:
    """The 20-byte address of a compressed public key."""
    return keccak256(PublicKey(compressed).format(compressed=False)[1:])[12:]


def _is_low_s(signature: bytes) -> bool:
    return 0 < int.from_bytes(signature[32:64], "big") <= _ORDER // 2
