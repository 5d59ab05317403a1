"""Evidence on the wire: versioned attestations and answers of ``GetQuote``.

V0 is SCALE and starts with ``0x00``; V1 is a MessagePack map. Trailing bytes are errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from .answers import AttestAnswer, QuoteAnswer
from .errors import VerificationError
from .event_log import RuntimeEvent, TdxEvent, read_event_log
from .fields import FieldError
from .scale import ScaleReader

MAX_BYTES = 10 * 1024 * 1024
"""Longest encoding that is read."""

Evidence = bytes | QuoteAnswer | AttestAnswer | Mapping[str, Any]
"""Versioned attestation bytes, or an answer of ``GetQuote`` or ``Attest``; the answer of
``GetQuote`` also as the JSON object that a peer sends."""

_REPORT_DATA_BYTES = 64
_SCALE_PLATFORMS = ("tdx", "gcp-tdx", "nitro-enclave", "sev-snp", "aws-nitro-tpm")


@dataclass(frozen=True)
class TdxEvidence:
    """Evidence of a TDX guest, parsed and not yet believed.

    Attributes:
        report_data: what the attester says it was challenged with; ``None`` when the
            encoding has no such field.
        runtime_events: what is replayed to RTMR3.
        pod_payload: of pods, the text whose ``app-data`` form the report data must be.
    """

    quote: bytes
    event_log: tuple[TdxEvent, ...]
    runtime_events: tuple[RuntimeEvent, ...]
    report_data: bytes | None
    pod_payload: str | None = None


def decode_evidence(evidence: Evidence) -> TdxEvidence:
    """Parses every form in which evidence comes.

    Raises:
        VerificationError: ``encoding`` or ``unsupported_platform``.
    """
    if isinstance(evidence, AttestAnswer):
        return decode_attestation(evidence.attestation)
    if isinstance(evidence, Mapping):
        try:
            evidence = QuoteAnswer.from_json(dict(evidence))
        except FieldError as error:
            raise _malformed(str(error)) from None
    if isinstance(evidence, QuoteAnswer):
        return _from_quote_answer(evidence)
    return decode_attestation(evidence)


def decode_attestation(data: bytes) -> TdxEvidence:
    """Parses versioned attestation bytes.

    Raises:
        VerificationError: ``encoding`` or ``unsupported_platform``.
    """
    if not isinstance(data, (bytes, bytearray)):
        raise _malformed(f"evidence must be bytes, not {type(data).__name__}")
    if not data:
        raise _malformed("evidence is empty")
    if len(data) > MAX_BYTES:
        raise _malformed(f"evidence has {len(data)} bytes; the limit is {MAX_BYTES}")
    first = data[0]
    try:
        if first == 0x00:
            return _decode_v0(bytes(data))
        if 0x80 <= first <= 0x8F or first in (0xDE, 0xDF):
            return _decode_v1(bytes(data))
    except FieldError as error:
        raise _malformed(str(error)) from None
    raise _malformed(f"evidence begins with byte 0x{first:02x}: neither V0 (0x00) nor V1")


def from_quote(quote: bytes, event_log: str) -> TdxEvidence:
    """A quote and the JSON text of its event log.

    Raises:
        VerificationError: ``encoding``.
    """
    try:
        events = read_event_log(event_log) if event_log else ()
    except FieldError as error:
        raise _malformed(str(error)) from None
    runtime = tuple(event for entry in events if (event := entry.runtime()) is not None)
    return TdxEvidence(quote, events, runtime, report_data=None)


def _from_quote_answer(answer: QuoteAnswer) -> TdxEvidence:
    if not answer.quote:
        # Other platforms than TDX; what it is, the attestation says.
        return decode_attestation(answer.attestation)
    evidence = from_quote(answer.quote, answer.event_log)
    return TdxEvidence(
        evidence.quote, evidence.event_log, evidence.runtime_events, answer.report_data
    )


# --- V0 ---------------------------------------------------------------------------------


def _decode_v0(data: bytes) -> TdxEvidence:
    reader = ScaleReader(data)
    reader.byte("version")
    variant = reader.byte("platform")
    if variant >= len(_SCALE_PLATFORMS):
        raise FieldError(f"V0 attestation: there is no platform {variant}")
    if variant != 0:
        raise _unsupported(_SCALE_PLATFORMS[variant])
    quote = reader.bytes("quote")
    event_log = tuple(_scale_entry(reader) for _ in range(reader.count("event log", 11)))
    runtime_events = tuple(
        RuntimeEvent(reader.text("event"), reader.bytes("payload"))
        for _ in range(reader.count("runtime events", 2))
    )
    report_data = reader.take("report data", _REPORT_DATA_BYTES)
    reader.text("config")
    reader.finish()
    return TdxEvidence(quote, event_log, runtime_events, report_data)


def _scale_entry(reader: ScaleReader) -> TdxEvent:
    return TdxEvent(
        imr=reader.u32("imr"),
        event_type=reader.u32("event type"),
        digest=reader.bytes("digest"),
        event=reader.text("event"),
        event_payload=reader.bytes("payload"),
    )


# --- V1 ---------------------------------------------------------------------------------


def _decode_v1(data: bytes) -> TdxEvidence:
    try:
        value = msgpack.unpackb(data, raw=False, object_pairs_hook=_unique, use_list=True)
    except FieldError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises errors of many kinds
        raise FieldError(f"V1 attestation is not valid MessagePack: {error}") from None
    whole = _exact(value, "attestation", "version", "platform", "stack")
    if _integer(whole["version"], "version") != 1:
        raise FieldError("V1 attestation: version is not 1")
    kind, platform = _tagged(whole["platform"], "platform")
    if kind != "tdx":
        if kind in _SCALE_PLATFORMS:
            raise _unsupported(kind)
        raise FieldError(f"V1 attestation: there is no platform {kind[:40]!r}")
    tdx = _exact(platform, "tdx", "quote", "event_log")
    stack_kind, stack_data = _tagged(whole["stack"], "stack")
    names = ["report_data", "runtime_events", "config"]
    if stack_kind == "dstack-pod":
        names.append("report_data_payload")
    elif stack_kind != "dstack":
        raise FieldError(f"V1 attestation: there is no stack {stack_kind[:40]!r}")
    stack = _exact(stack_data, stack_kind, *names)
    _text(stack["config"], "config")
    report_data = _byte_list(stack["report_data"], "report_data")
    if len(report_data) != _REPORT_DATA_BYTES:
        raise FieldError(f"V1 attestation: report_data has {len(report_data)} bytes, not 64")
    payload = None
    if stack_kind == "dstack-pod":
        payload = _text(stack["report_data_payload"], "report_data_payload")
    return TdxEvidence(
        quote=_byte_list(tdx["quote"], "quote"),
        event_log=tuple(_log_entry(entry) for entry in _list(tdx["event_log"], "event_log")),
        runtime_events=tuple(
            _runtime_event(event) for event in _list(stack["runtime_events"], "runtime_events")
        ),
        report_data=report_data,
        pod_payload=payload,
    )


def _log_entry(value: object) -> TdxEvent:
    entry = _object(
        value,
        "event log entry",
        {"imr", "event_type", "digest", "event", "event_payload"},
        {"version", "preimage"},
    )
    if entry.get("preimage") is not None:
        _text(entry["preimage"], "preimage")
    return TdxEvent(
        imr=_u32(entry["imr"], "imr"),
        event_type=_u32(entry["event_type"], "event_type"),
        digest=_bytes(entry["digest"], "digest"),
        event=_text(entry["event"], "event"),
        event_payload=_bytes(entry["event_payload"], "event_payload"),
        version=_event_version(entry),
    )


def _runtime_event(value: object) -> RuntimeEvent:
    event = _object(value, "runtime event", {"event", "payload"}, {"version"})
    return RuntimeEvent(
        event=_text(event["event"], "event"),
        payload=_bytes(event["payload"], "payload"),
        version=_event_version(event),
    )


def _event_version(entry: dict[str, Any]) -> int:
    version = _integer(entry.get("version", 1), "version")
    if version not in (1, 2):
        raise FieldError(f"V1 attestation: event version {version} is not 1 or 2")
    return version


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FieldError("V1 attestation: a key appears twice in one map")
    return found


def _exact(value: object, what: str, *names: str) -> dict[str, Any]:
    return _object(value, what, set(names), set())


def _object(value: object, what: str, needed: set[str], allowed: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FieldError(f"V1 attestation: {what} is not a map")
    if missing := needed - value.keys():
        raise FieldError(f"V1 attestation: {what} lacks `{min(missing)}`")
    if value.keys() - needed - allowed:
        raise FieldError(f"V1 attestation: {what} has a field that there is none of")
    return value


def _tagged(value: object, what: str) -> tuple[str, object]:
    tagged = _exact(value, what, "kind", "data")
    return _text(tagged["kind"], "kind"), tagged["data"]


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise FieldError(f"V1 attestation: {what} is not an array")
    return value


def _integer(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise FieldError(f"V1 attestation: {what} is not a whole number")
    return value


def _u32(value: object, what: str) -> int:
    number = _integer(value, what)
    if not 0 <= number < 2**32:
        raise FieldError(f"V1 attestation: {what} does not fit 32 bits")
    return number


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise FieldError(f"V1 attestation: {what} is not text")
    return value


def _bytes(value: object, what: str) -> bytes:
    return value if isinstance(value, bytes) else _byte_list(value, what)


def _byte_list(value: object, what: str) -> bytes:
    """Plain byte vectors are arrays of integers, as serde writes them."""
    entries = _list(value, what)
    if not all(type(entry) is int and 0 <= entry <= 255 for entry in entries):
        raise FieldError(f"V1 attestation: {what} is not an array of bytes")
    return bytes(entries)


def _malformed(reason: str) -> VerificationError:
    return VerificationError("encoding", reason)


def _unsupported(platform: str) -> VerificationError:
    return VerificationError(
        "unsupported_platform", f"evidence of platform {platform} is not supported, only tdx"
    )
