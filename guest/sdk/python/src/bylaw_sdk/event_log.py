"""The event log and what it replays to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import InputError
from .fields import FieldError, Fields, parse_json

MAX_EVENTS = 4096
"""Most entries a log may have."""
RUNTIME_EVENT_TYPE = 0x08000001
"""Type of every event that the guest extends at run time."""
RUNTIME_REGISTER = 3
"""The register they are extended into."""
SYSTEM_READY = "system-ready"
"""After this event only the app extends, and no field is looked up any more."""

_U32 = 2**32 - 1
_REGISTER_BYTES = 48


@dataclass(frozen=True)
class RuntimeEvent:
    """One event extended into RTMR3.

    Attributes:
        event: name, e.g. ``compose-hash``.
        payload: bytes whose meaning depends on the name.
        version: form of the digest, 1 or 2.
    """

    event: str
    payload: bytes
    version: int = 1

    def preimage(self) -> bytes:
        """The bytes that are hashed."""
        if self.version == 1:
            kind = RUNTIME_EVENT_TYPE.to_bytes(4, "little")
            return b":".join((kind, self.event.encode(), self.payload))
        # RFC 8785: keys in order, no spaces, only what must be escaped is.
        form = {"name": self.event, "payload": self.payload.hex(), "type": RUNTIME_EVENT_TYPE}
        return json.dumps(form, ensure_ascii=False, separators=(",", ":")).encode()

    def digest(self) -> bytes:
        """SHA-384 of the preimage: what RTMR3 is extended with."""
        return hashlib.sha384(self.preimage()).digest()


@dataclass(frozen=True)
class TdxEvent:
    """One entry of the TDX event log.

    Attributes:
        imr: register, 0 to 3.
        event_type: TCG event type, or :data:`RUNTIME_EVENT_TYPE`.
        digest: 48 bytes; empty where a form leaves it out.
        event: name; empty for most firmware entries.
        event_payload: payload; empty where a form leaves it out.
        version: form of the digest of a runtime event, 1 or 2.
    """

    imr: int
    event_type: int
    digest: bytes
    event: str
    event_payload: bytes
    version: int = 1

    def runtime(self) -> RuntimeEvent | None:
        """The runtime event this entry describes, when it is one."""
        if self.imr != RUNTIME_REGISTER:
            return None
        return RuntimeEvent(self.event, self.event_payload, self.version)


def parse_event_log(text: str) -> tuple[TdxEvent, ...]:
    """Reads the JSON form of an event log.

    Raises:
        InputError: it is not one; the sentence names the entry.
    """
    try:
        return read_event_log(text)
    except FieldError as error:
        raise InputError(str(error)) from None


def read_event_log(text: str) -> tuple[TdxEvent, ...]:
    """As :func:`parse_event_log`, with the reader's own error."""
    entries = parse_json(text, "event log")
    if not isinstance(entries, list):
        raise FieldError("event log is not a JSON array")
    if len(entries) > MAX_EVENTS:
        raise FieldError(f"event log has {len(entries)} entries; the limit is {MAX_EVENTS}")
    return tuple(event_from_json(entry, index) for index, entry in enumerate(entries))


def event_from_json(value: object, index: int) -> TdxEvent:
    """Reads one entry; ``index`` names it in errors."""
    what = f"event log entry {index}"
    entry = Fields(value, what)
    version = entry.integer("version", _U32) if entry.has("version") else 1
    if version not in (1, 2):
        raise FieldError(f"{what}: version {version} is not 1 or 2")
    return TdxEvent(
        imr=entry.integer("imr", _U32),
        event_type=entry.integer("event_type", _U32),
        digest=entry.hex("digest"),
        event=entry.text("event"),
        event_payload=entry.hex("event_payload"),
        version=version,
    )


def extend(register: bytes, digest: bytes) -> bytes:
    """SHA-384(register || digest)."""
    return hashlib.sha384(register + digest).digest()


def replay(events: Iterable[RuntimeEvent]) -> bytes:
    """RTMR3 after ``events``; each digest is computed from its payload."""
    register = bytes(_REGISTER_BYTES)
    for event in events:
        register = extend(register, event.digest())
    return register


def replay_rtmrs(event_log: str | Sequence[TdxEvent]) -> tuple[bytes, bytes, bytes, bytes]:
    """What a log, as JSON text or parsed, amounts to: RTMR0 to RTMR3, 48 bytes each.

    The digest of each entry is extended as it stands; runtime events without one are
    recomputed. Compare with a *verified* quote: a log alone proves nothing.

    Raises:
        InputError: the log cannot be read, or an entry cannot be replayed.
    """
    events = parse_event_log(event_log) if isinstance(event_log, str) else event_log
    registers = [bytes(_REGISTER_BYTES)] * 4
    for index, event in enumerate(events):
        if not 0 <= event.imr <= 3:
            raise InputError(f"event log entry {index}: register {event.imr} is not 0 to 3")
        registers[event.imr] = extend(registers[event.imr], _digest(event, index))
    return registers[0], registers[1], registers[2], registers[3]


def _digest(event: TdxEvent, index: int) -> bytes:
    if event.digest:
        if len(event.digest) != _REGISTER_BYTES:
            raise InputError(
                f"event log entry {index}: its digest has {len(event.digest)} bytes, not 48"
            )
        return event.digest
    runtime = event.runtime()
    if runtime is None or event.event_type != RUNTIME_EVENT_TYPE:
        raise InputError(f"event log entry {index} has no digest and is no runtime event")
    return runtime.digest()


def system_events(events: Sequence[RuntimeEvent]) -> Sequence[RuntimeEvent]:
    """The events before ``system-ready``."""
    for index, event in enumerate(events):
        if event.event == SYSTEM_READY:
            return events[:index]
    return events


def field(events: Sequence[RuntimeEvent], name: str) -> bytes | None:
    """Payload of the first event called ``name`` before ``system-ready``."""
    return next((event.payload for event in system_events(events) if event.event == name), None)
