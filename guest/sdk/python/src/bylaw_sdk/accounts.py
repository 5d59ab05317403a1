"""Ethereum and Solana accounts from the agent's keys.

Needs the extra ``ethereum`` (eth-account) or ``solana`` (solders).
"""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from .answers import KeyAnswer, TlsKeyAnswer
from .errors import InputError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from solders.keypair import Keypair


class InsecureKeyWarning(UserWarning):
    """An account that anybody can spend from."""


def to_ethereum_account(answer: KeyAnswer | TlsKeyAnswer) -> LocalAccount:
    """The account of a ``GetKey`` answer.

    Of a ``GetTlsKey`` answer it is the form of old programs, from the first 32 bytes of
    the key's DER. Those are the same for every key, so the account is everybody's: it is
    there to find what was left in it, and warns.
    """
    return _ethereum(_seed(answer))


def to_ethereum_account_secure(answer: TlsKeyAnswer) -> LocalAccount:
    """The account from SHA-256 of the whole DER of a ``GetTlsKey`` answer.

    That call makes a fresh key each time, so this account cannot be had again: prefer
    ``GetKey``.
    """
    return _ethereum(_seed_secure(answer))


def to_solana_keypair(answer: KeyAnswer | TlsKeyAnswer) -> Keypair:
    """As :func:`to_ethereum_account`, for Solana."""
    return _solana(_seed(answer))


def to_solana_keypair_secure(answer: TlsKeyAnswer) -> Keypair:
    """As :func:`to_ethereum_account_secure`, for Solana."""
    return _solana(_seed_secure(answer))


def _ethereum(seed: bytes) -> LocalAccount:
    try:
        from eth_account import Account
    except ImportError:
        raise InputError("install bylaw-sdk[ethereum] for Ethereum accounts") from None
    account: LocalAccount = Account.from_key(seed)
    return account


def _solana(seed: bytes) -> Keypair:
    try:
        from solders.keypair import Keypair
    except ImportError:
        raise InputError("install bylaw-sdk[solana] for Solana accounts") from None
    return Keypair.from_seed(seed)


def _seed(answer: KeyAnswer | TlsKeyAnswer) -> bytes:
    if isinstance(answer, KeyAnswer):
        return answer.key.expose()
    warnings.warn(
        "the first 32 bytes of a PKCS#8 key are constant, so anybody can spend from this "
        "account; use GetKey, or the _secure form",
        InsecureKeyWarning,
        stacklevel=3,
    )
    return _pkcs8_der(answer)[:32]


def _seed_secure(answer: TlsKeyAnswer) -> bytes:
    return hashlib.sha256(_pkcs8_der(answer)).digest()


def _pkcs8_der(answer: TlsKeyAnswer) -> bytes:
    try:
        key = load_pem_private_key(answer.key.expose().encode(), password=None)
    except (ValueError, TypeError):
        raise InputError("the TLS key is not a PKCS#8 PEM private key") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise InputError("the TLS key is not a P-256 key")
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
