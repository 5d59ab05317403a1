"""The KMS root that the chain names."""

from __future__ import annotations

import asyncio
import json

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError

from . import secp256k1
from .errors import AnswerError, InputError, VerificationError
from .fields import FieldError, Fields, parse_json
from .hexbytes import HexOrBytes, from_hex, to_bytes
from .http import Limits, exchange
from .key_chain import KmsRoot

BLOCK_TAG = "finalized"
"""The block that is asked about: one that no reorganisation takes back."""

_SELECTOR = secp256k1.keccak256(b"kmsInfo()")[:4]
_MAX_ANSWER_BYTES = 1024 * 1024


def fetch_kms_root(
    rpc_url: str,
    kms_auth: HexOrBytes,
    *,
    connect_timeout: float = 3.0,
    call_timeout: float = 30.0,
) -> KmsRoot:
    """Asks an Ethereum node for the root keys that a KmsAuth contract names.

    The node is believed: use your own, or ask several and compare.

    Args:
        rpc_url: http(s) URL of the node's JSON-RPC. It is not repeated in errors beyond
            its host, because providers put keys into the path.
        kms_auth: the contract's address.

    Raises:
        VerificationError: code ``kms_root``, the contract names no usable keys.
        TransportError: the node cannot be reached.
        AnswerError: the node answered something else, or refused.
    """
    address = to_bytes("kms_auth", kms_auth, 20)
    call = {"to": "0x" + address.hex(), "data": "0x" + _SELECTOR.hex()}
    question = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, BLOCK_TAG]}
    try:
        request = httpx.Request(
            "POST",
            rpc_url,
            content=json.dumps(question).encode(),
            headers={"Content-Type": "application/json"},
        )
        if request.url.scheme not in ("http", "https"):
            raise httpx.InvalidURL("scheme")
    except (httpx.InvalidURL, TypeError, ValueError):
        raise InputError("rpc_url is not an http(s) URL") from None
    limits = Limits(connect_timeout, call_timeout, _MAX_ANSWER_BYTES)
    with httpx.Client() as client:
        answer = exchange(client, request, limits, f"eth_call at {request.url.host}")
    return parse_kms_info(_result(answer.body))


async def fetch_kms_root_async(
    rpc_url: str,
    kms_auth: HexOrBytes,
    *,
    connect_timeout: float = 3.0,
    call_timeout: float = 30.0,
) -> KmsRoot:
    """As :func:`fetch_kms_root`, without blocking the event loop."""
    return await asyncio.to_thread(
        fetch_kms_root,
        rpc_url,
        kms_auth,
        connect_timeout=connect_timeout,
        call_timeout=call_timeout,
    )


def parse_kms_info(returned: HexOrBytes) -> KmsRoot:
    """Reads what ``kmsInfo()`` returned.

    Raises:
        VerificationError: code ``kms_root``.
    """
    data = to_bytes("returned", returned)
    if not data:
        raise _unusable("the call returned nothing: there is no KmsAuth at this address")
    try:
        k256_public, ca_spki, _quote, _event_log = abi_decode(["bytes"] * 4, data)
    except (DecodingError, OverflowError, ValueError):
        raise _unusable("the answer of kmsInfo() is not four byte strings") from None
    if not k256_public or not ca_spki:
        raise _unusable("KmsAuth names no KMS root")
    if not secp256k1.is_public_key(k256_public):
        raise _unusable("k256Pubkey is not a compressed secp256k1 key")
    if not _is_p256_spki(ca_spki):
        raise _unusable("caPubkey is not a DER SubjectPublicKeyInfo of a P-256 key")
    return KmsRoot(k256_public, ca_spki)


def _result(body: bytes) -> bytes:
    what = "eth_call answer"
    try:
        answer = Fields(parse_json(body, what), what)
        if answer.has("error"):
            refusal = Fields(parse_json(body, what)["error"], "eth_call error")
            raise AnswerError(f"the node refused eth_call: {refusal.text('message')[:200]}")
        text = answer.text("result")
    except FieldError as error:
        raise AnswerError(str(error)) from None
    data = from_hex(text[2:]) if text.startswith("0x") else None
    if data is None:
        raise AnswerError(f"{what}: field `result` is not 0x and hexadecimal")
    return data


def _is_p256_spki(der: bytes) -> bool:
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        return False
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        return False
    # One encoding only: it is compared byte by byte.
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == der


def _unusable(reason: str) -> VerificationError:
    return VerificationError("kms_root", reason)
