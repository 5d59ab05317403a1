"""The calls of the app API: what is sent, and how the answer is read.

Both clients send these; neither knows a method's fields.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .answers import (
    AttestAnswer,
    GpuInfoAnswer,
    InfoAnswer,
    KeyAnswer,
    QuoteAnswer,
    SignAnswer,
    TlsKeyAnswer,
    VersionAnswer,
    valid_from_json,
)
from .errors import InputError
from .fields import FieldError
from .hexbytes import HexOrBytes, to_bytes

T = TypeVar("T")

REPORT_DATA_BYTES = 64
_LARGEST_TIME = 2**63 - 1


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and the reader of its answer."""

    method: str
    body: dict[str, Any]
    decode: Callable[[object], T]


def get_key(path: str, purpose: str, algorithm: str) -> Call[KeyAnswer]:
    """``GetKey``."""
    body = {
        "path": _text("path", path),
        "purpose": _text("purpose", purpose),
        "algorithm": _text("algorithm", algorithm),
    }
    return Call("GetKey", body, KeyAnswer.from_json)


def get_tls_key(
    subject: str,
    alt_names: Sequence[str],
    usage_ra_tls: bool,
    usage_server_auth: bool,
    usage_client_auth: bool,
    not_before: int | None,
    not_after: int | None,
    with_app_info: bool,
) -> Call[TlsKeyAnswer]:
    """``GetTlsKey``."""
    if isinstance(alt_names, str):
        raise InputError("alt_names is one text; give a list of names")
    body: dict[str, Any] = {
        "subject": _text("subject", subject),
        "alt_names": [_text("alt_names", name) for name in alt_names],
        "usage_ra_tls": bool(usage_ra_tls),
        "usage_server_auth": bool(usage_server_auth),
        "usage_client_auth": bool(usage_client_auth),
        "with_app_info": bool(with_app_info),
    }
    for name, time in (("not_before", not_before), ("not_after", not_after)):
        if time is not None:
            body[name] = _unix_time(name, time)
    return Call("GetTlsKey", body, TlsKeyAnswer.from_json)


def get_quote(report_data: HexOrBytes) -> Call[QuoteAnswer]:
    """``GetQuote``."""
    return Call("GetQuote", _report_data(report_data), QuoteAnswer.from_json)


def attest(report_data: HexOrBytes) -> Call[AttestAnswer]:
    """``Attest``."""
    return Call("Attest", _report_data(report_data), AttestAnswer.from_json)


def info() -> Call[InfoAnswer]:
    """``Info``."""
    return Call("Info", {}, InfoAnswer.from_json)


def gpu_info() -> Call[GpuInfoAnswer]:
    """``GpuInfo``."""
    return Call("GpuInfo", {}, GpuInfoAnswer.from_json)


def sign(algorithm: str, data: HexOrBytes) -> Call[SignAnswer]:
    """``Sign``."""
    body = {"algorithm": _text("algorithm", algorithm), "data": to_bytes("data", data).hex()}
    return Call("Sign", body, SignAnswer.from_json)


def verify(
    algorithm: str, data: HexOrBytes, signature: HexOrBytes, public_key: HexOrBytes
) -> Call[bool]:
    """``Verify``."""
    body = {
        "algorithm": _text("algorithm", algorithm),
        "data": to_bytes("data", data).hex(),
        "signature": to_bytes("signature", signature).hex(),
        "public_key": to_bytes("public_key", public_key).hex(),
    }
    return Call("Verify", body, valid_from_json)


def emit_event(name: str, payload: HexOrBytes) -> Call[None]:
    """``EmitEvent``."""
    if not _text("event name", name) or ":" in name:
        raise InputError("the event name must not be empty or contain a colon")
    body = {"event": name, "payload": to_bytes("payload", payload).hex()}
    return Call("EmitEvent", body, _nothing)


def version() -> Call[VersionAnswer]:
    """``Version``."""
    return Call("Version", {}, VersionAnswer.from_json)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, not {type(value).__name__}")
    return value


def _unix_time(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_TIME:
        raise InputError(f"{name} must be whole Unix seconds from 0 on")
    return value


def _report_data(value: HexOrBytes) -> dict[str, Any]:
    data = to_bytes("report_data", value)
    if len(data) > REPORT_DATA_BYTES:
        raise InputError(
            f"report_data has {len(data)} bytes; at most {REPORT_DATA_BYTES} fit: give a hash"
        )
    return {"report_data": data.hex()}


def _nothing(value: object) -> None:
    if value is not None:
        raise FieldError("EmitEvent answer is not null")
