"""What is expected of evidence, and what its verification established."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from . import event_log
from .errors import InputError, VerificationCode, VerificationError
from .event_log import RuntimeEvent
from .fields import FieldError, Fields, parse_json
from .hexbytes import HexOrBytes, to_bytes
from .quote import VerifiedTd
from .report_data import report_data_for_tls_key

UP_TO_DATE = ("UpToDate",)
"""The TCB statuses that are accepted by default."""
REVOKED = "Revoked"
"""The TCB status that is never accepted."""


@dataclass(frozen=True)
class Measurements:
    """Registers that an image is known to boot to; those left out are not compared."""

    mrtd: HexOrBytes | None = None
    rtmr0: HexOrBytes | None = None
    rtmr1: HexOrBytes | None = None
    rtmr2: HexOrBytes | None = None

    def __post_init__(self) -> None:
        if not self._given():
            raise InputError("measurements without a register would accept anything")
        for name, value in self._given():
            to_bytes(name, value, 48)

    def fit(self, td: VerifiedTd) -> bool:
        """Whether every register that is given is the TD's."""
        return all(to_bytes(name, value, 48) == getattr(td, name) for name, value in self._given())

    def _given(self) -> list[tuple[str, HexOrBytes]]:
        registers = {
            "mrtd": self.mrtd,
            "rtmr0": self.rtmr0,
            "rtmr1": self.rtmr1,
            "rtmr2": self.rtmr2,
        }
        return [(name, value) for name, value in registers.items() if value is not None]


@dataclass(frozen=True)
class Expect:
    """What evidence must be, or it is refused.

    Attributes:
        report_data: the 64 bytes that it was made for; a fresh challenge proves that it
            is not a replay.
        tls_key: in place of ``report_data``, the DER SubjectPublicKeyInfo that it binds.
        app_id: the app, 20 bytes.
        compose_hash: its manifest, 32 bytes.
        device_ids: machines, 32 bytes each.
        measurements: images; one of them must fit. Without them the operating system is
            *not* proven, whatever it says of itself.
        key_provider_id: DER SubjectPublicKeyInfo of the KMS root CA that gave the keys.
        tcb_statuses: accepted statuses of the platform. ``Revoked`` is never accepted,
            even when it is listed.
    """

    report_data: HexOrBytes | None = None
    tls_key: bytes | None = None
    app_id: HexOrBytes | None = None
    compose_hash: HexOrBytes | None = None
    device_ids: Collection[HexOrBytes] | None = None
    measurements: Sequence[Measurements] | None = None
    key_provider_id: HexOrBytes | None = None
    tcb_statuses: Collection[str] = UP_TO_DATE

    def __post_init__(self) -> None:
        if self.report_data is not None and self.tls_key is not None:
            raise InputError("give report_data or tls_key, not both")
        for name, value, length in (
            ("report_data", self.report_data, 64),
            ("app_id", self.app_id, 20),
            ("compose_hash", self.compose_hash, 32),
            ("key_provider_id", self.key_provider_id, None),
        ):
            if value is not None:
                to_bytes(name, value, length)
        for name, listed in (
            ("device_ids", self.device_ids),
            ("measurements", self.measurements),
            ("tcb_statuses", self.tcb_statuses),
        ):
            if isinstance(listed, (str, bytes)):
                raise InputError(f"{name} is a list, not one value")
        for device in self.device_ids or ():
            to_bytes("device_ids", device, 32)

    def has_challenge(self) -> bool:
        """Whether it says what the evidence must be made for."""
        return self.report_data is not None or self.tls_key is not None

    def challenge(self) -> bytes:
        """The report data that evidence must carry."""
        if self.tls_key is not None:
            return report_data_for_tls_key(self.tls_key)
        if self.report_data is None:
            raise InputError("say what the evidence must be made for: report_data or tls_key")
        return to_bytes("report_data", self.report_data, 64)


@dataclass(frozen=True)
class KeyProvider:
    """Where the guest has its keys from; ``id`` of a KMS is its root CA's DER SPKI in hex."""

    name: str
    id: str


@dataclass(frozen=True)
class Appraisal:
    """What verified evidence established. Only :class:`~bylaw_sdk.Verifier` makes one.

    Attributes:
        app_id, compose_hash, instance_id: the app, from events that the guest measured
            before it handed over to the app; they are worth as much as its operating
            system, so compare ``measurements``.
        instance_id: empty where the app has no instances.
        device_id: SHA-256 of the machine's PPID.
        mr_aggregated: over every register.
        mr_system: over the registers of the system and the key provider.
        events: the runtime events that replay to RTMR3.
        verified_at: Unix seconds for which it holds.
        debug: always ``False``; debug TDs are refused.
    """

    mrtd: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    report_data: bytes
    tcb_status: str
    advisory_ids: tuple[str, ...]
    app_id: bytes
    compose_hash: bytes
    instance_id: bytes
    device_id: bytes
    mr_aggregated: bytes
    mr_system: bytes
    key_provider: KeyProvider | None
    events: tuple[RuntimeEvent, ...]
    verified_at: int
    debug: bool = False


def appraise(td: VerifiedTd, events: tuple[RuntimeEvent, ...], verified_at: int) -> Appraisal:
    """Reads the identity from a verified TD and the events that replay to its RTMR3.

    Raises:
        VerificationError: ``event_log`` or ``key_provider``.
    """
    provider_info = event_log.field(events, "key-provider") or b""
    return Appraisal(
        mrtd=td.mrtd,
        rtmr0=td.rtmr0,
        rtmr1=td.rtmr1,
        rtmr2=td.rtmr2,
        rtmr3=td.rtmr3,
        report_data=td.report_data,
        tcb_status=td.tcb_status,
        advisory_ids=td.advisory_ids,
        app_id=_measured(events, "app-id", 20),
        compose_hash=_measured(events, "compose-hash", 32),
        instance_id=_measured(events, "instance-id", 20, 0),
        device_id=td.device_id,
        mr_aggregated=_mr_aggregated(td),
        mr_system=_mr_system(td, provider_info),
        key_provider=_key_provider(provider_info),
        events=events,
        verified_at=verified_at,
    )


def check_identity(appraisal: Appraisal, expect: Expect) -> None:
    """Compares an identity with what is expected.

    Raises:
        VerificationError: ``app_id``, ``compose_hash``, ``device_id`` or ``key_provider``.
    """
    _check_equal("app_id", expect.app_id, appraisal.app_id)
    _check_equal("compose_hash", expect.compose_hash, appraisal.compose_hash)
    if expect.device_ids is not None:
        devices = [to_bytes("device_ids", device, 32) for device in expect.device_ids]
        if appraisal.device_id not in devices:
            raise VerificationError(
                "device_id", f"device {appraisal.device_id.hex()} is none of the expected ones"
            )
    if expect.key_provider_id is not None:
        check_key_provider(appraisal, to_bytes("key_provider_id", expect.key_provider_id))


def check_key_provider(appraisal: Appraisal, ca_spki: bytes) -> None:
    """Refuses a guest whose keys are not from the KMS with this root CA.

    Raises:
        VerificationError: ``key_provider``.
    """
    provider = appraisal.key_provider
    if provider is None:
        raise VerificationError("key_provider", "the guest measured no key provider")
    if provider.name != "kms" or provider.id != ca_spki.hex():
        raise VerificationError(
            "key_provider",
            f"the guest has its keys from {provider.name[:40]!r}, id {provider.id[:400]!r}, not "
            f"from the KMS {ca_spki.hex()}",
        )


def _check_equal(code: VerificationCode, expected: HexOrBytes | None, actual: bytes) -> None:
    if expected is None:
        return
    wanted = to_bytes(code, expected)
    if not hmac.compare_digest(wanted, actual):
        raise VerificationError(code, f"{code} is {actual.hex()}, expected {wanted.hex()}")


def _measured(events: tuple[RuntimeEvent, ...], name: str, *lengths: int) -> bytes:
    payload = event_log.field(events, name)
    if payload is None:
        raise VerificationError(
            "event_log", f"the event log has no {name} event before {event_log.SYSTEM_READY}"
        )
    if len(payload) not in lengths:
        raise VerificationError(
            "event_log", f"the payload of event {name} has {len(payload)} bytes, not {lengths[0]}"
        )
    return payload


def _key_provider(payload: bytes) -> KeyProvider | None:
    if not payload:
        return None
    try:
        provider = Fields(parse_json(payload, "key-provider event"), "key-provider event")
        return KeyProvider(provider.text("name"), provider.text("id"))
    except FieldError as error:
        raise VerificationError("key_provider", str(error)) from None


def _boot_registers(td: VerifiedTd) -> bytes:
    return td.mrtd + td.rtmr0 + td.rtmr1 + td.rtmr2


def _mr_system(td: VerifiedTd, provider_info: bytes) -> bytes:
    provider = hashlib.sha256(provider_info).digest() if provider_info else bytes(32)
    return hashlib.sha256(_boot_registers(td) + provider).digest()


def _mr_aggregated(td: VerifiedTd) -> bytes:
    host_set = td.mr_config_id + td.mr_owner + td.mr_owner_config
    # Hosts that set none of the three are not told apart from those before they existed.
    measured = _boot_registers(td) + td.rtmr3 + (host_set if any(host_set) else b"")
    return hashlib.sha256(measured).digest()
