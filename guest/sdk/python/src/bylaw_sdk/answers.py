"""What the guest agent answers."""

from __future__ import annotations

from dataclasses import dataclass

from .event_log import TdxEvent, event_from_json, parse_event_log, replay_rtmrs
from .fields import FieldError, Fields, parse_json
from .secret import Secret

_ID = (20,)
_ID_OR_NONE = (0, 20)
_HASH = (32,)
_HASH_OR_NONE = (0, 32)
_REGISTER = (48,)


@dataclass(frozen=True)
class KeyAnswer:
    """Answer of ``GetKey``.

    Attributes:
        key: the 32 bytes, a secp256k1 scalar or an ed25519 seed. They depend on the
            path alone: purpose and algorithm do not change them.
        signature_chain: the app key over the public key, the KMS root over the app key;
            the second is empty without a KMS.
    """

    key: Secret[bytes]
    signature_chain: tuple[bytes, bytes]

    @classmethod
    def from_json(cls, value: object) -> KeyAnswer:
        """Reads the JSON answer."""
        answer = Fields(value, "GetKey answer")
        chain = answer.hex_list("signature_chain")
        if len(chain) != 2:
            raise FieldError(f"GetKey answer: `signature_chain` has {len(chain)} entries, not 2")
        return cls(Secret(answer.hex("key", _HASH)), (chain[0], chain[1]))


@dataclass(frozen=True)
class TlsKeyAnswer:
    """Answer of ``GetTlsKey``: a fresh key each call.

    Attributes:
        key: PKCS#8 PEM.
        certificate_chain: PEM certificates, leaf first.
    """

    key: Secret[str]
    certificate_chain: tuple[str, ...]

    @classmethod
    def from_json(cls, value: object) -> TlsKeyAnswer:
        """Reads the JSON answer."""
        answer = Fields(value, "GetTlsKey answer")
        chain = answer.text_list("certificate_chain")
        if not chain:
            raise FieldError("GetTlsKey answer: `certificate_chain` is empty")
        return cls(Secret(answer.text("key")), chain)


@dataclass(frozen=True)
class QuoteAnswer:
    """Answer of ``GetQuote``: evidence for :class:`~bylaw_sdk.Verifier`.

    Attributes:
        quote: TDX quote; empty on other platforms.
        event_log: JSON text.
        report_data: the 64 bytes that were signed.
        vm_config: JSON text, the machine's description of itself, unproven.
        attestation: versioned attestation; empty on TDX.
    """

    quote: bytes
    event_log: str
    report_data: bytes
    vm_config: str
    attestation: bytes = b""

    @classmethod
    def from_json(cls, value: object) -> QuoteAnswer:
        """Reads the JSON answer."""
        answer = Fields(value, "GetQuote answer")
        return cls(
            quote=answer.hex("quote"),
            event_log=answer.text("event_log"),
            report_data=answer.hex("report_data", (64,)),
            vm_config=answer.text("vm_config"),
            attestation=answer.hex("attestation") if answer.has("attestation") else b"",
        )

    def events(self) -> tuple[TdxEvent, ...]:
        """The event log, parsed."""
        return parse_event_log(self.event_log)

    def replay_rtmrs(self) -> tuple[bytes, bytes, bytes, bytes]:
        """RTMR0 to RTMR3 as the log gives them; see :func:`~bylaw_sdk.replay_rtmrs`."""
        return replay_rtmrs(self.event_log)


@dataclass(frozen=True)
class AttestAnswer:
    """Answer of ``Attest``: versioned attestation bytes."""

    attestation: bytes

    @classmethod
    def from_json(cls, value: object) -> AttestAnswer:
        """Reads the JSON answer."""
        return cls(Fields(value, "Attest answer").hex("attestation"))


@dataclass(frozen=True)
class TcbInfo:
    """What the guest says was measured. Unproven: verify a quote to believe it.

    The registers are ``None`` off TDX.
    """

    mrtd: bytes | None
    rtmr0: bytes | None
    rtmr1: bytes | None
    rtmr2: bytes | None
    rtmr3: bytes | None
    mr_aggregated: bytes
    os_image_hash: bytes
    compose_hash: bytes
    device_id: bytes
    event_log: tuple[TdxEvent, ...]
    app_compose: str

    @classmethod
    def from_json(cls, text: str) -> TcbInfo:
        """Reads the JSON text."""
        value = parse_json(text, "tcb_info")
        info = Fields(value, "tcb_info")

        def register(name: str) -> bytes | None:
            if isinstance(value, dict) and name in value and value[name] is None:
                return None
            return info.hex(name, _REGISTER)

        entries = info.objects("event_log", lambda entry: entry)
        return cls(
            mrtd=register("mrtd"),
            rtmr0=register("rtmr0"),
            rtmr1=register("rtmr1"),
            rtmr2=register("rtmr2"),
            rtmr3=register("rtmr3"),
            mr_aggregated=info.hex("mr_aggregated", _HASH),
            os_image_hash=info.hex("os_image_hash", _HASH_OR_NONE),
            compose_hash=info.hex("compose_hash", _HASH),
            device_id=info.hex("device_id", _HASH),
            event_log=tuple(event_from_json(entry, index) for index, entry in enumerate(entries)),
            app_compose=info.text("app_compose"),
        )


@dataclass(frozen=True)
class InfoAnswer:
    """Answer of ``Info``. Unproven: it is what the agent says of itself.

    Attributes:
        tcb_info: ``None`` where the app keeps it private.
        instance_id: empty where the app has no instances.
        key_provider_info: JSON text with ``name`` and ``id``.
    """

    app_id: bytes
    instance_id: bytes
    app_cert: str
    tcb_info: TcbInfo | None
    app_name: str
    device_id: bytes
    mr_aggregated: bytes
    os_image_hash: bytes
    key_provider_info: str
    compose_hash: bytes
    vm_config: str
    cloud_vendor: str
    cloud_product: str

    @classmethod
    def from_json(cls, value: object) -> InfoAnswer:
        """Reads the JSON answer."""
        answer = Fields(value, "Info answer")
        tcb_info = answer.text("tcb_info")
        return cls(
            app_id=answer.hex("app_id", _ID),
            instance_id=answer.hex("instance_id", _ID_OR_NONE),
            app_cert=answer.text("app_cert"),
            tcb_info=TcbInfo.from_json(tcb_info) if tcb_info else None,
            app_name=answer.text("app_name"),
            device_id=answer.hex("device_id", _HASH),
            mr_aggregated=answer.hex("mr_aggregated", _HASH),
            os_image_hash=answer.hex("os_image_hash", _HASH_OR_NONE),
            key_provider_info=answer.text("key_provider_info"),
            compose_hash=answer.hex("compose_hash", _HASH),
            vm_config=answer.text("vm_config"),
            cloud_vendor=answer.text("cloud_vendor"),
            cloud_product=answer.text("cloud_product"),
        )


@dataclass(frozen=True)
class GpuInfoAnswer:
    """Answer of ``GpuInfo``: the GPU attestation tool's own output, or empty text."""

    attestation: str

    @classmethod
    def from_json(cls, value: object) -> GpuInfoAnswer:
        """Reads the JSON answer."""
        return cls(Fields(value, "GpuInfo answer").text("attestation"))


@dataclass(frozen=True)
class SignAnswer:
    """Answer of ``Sign``.

    Attributes:
        signature: 64 bytes.
        signature_chain: the signature, the app key over the public key, the KMS root
            over the app key (empty without a KMS).
        public_key: 32 bytes (ed25519) or 33 (secp256k1, compressed).
    """

    signature: bytes
    signature_chain: tuple[bytes, bytes, bytes]
    public_key: bytes

    @classmethod
    def from_json(cls, value: object) -> SignAnswer:
        """Reads the JSON answer."""
        answer = Fields(value, "Sign answer")
        chain = answer.hex_list("signature_chain")
        if len(chain) != 3:
            raise FieldError(f"Sign answer: `signature_chain` has {len(chain)} entries, not 3")
        return cls(
            signature=answer.hex("signature", (64,)),
            signature_chain=(chain[0], chain[1], chain[2]),
            public_key=answer.hex("public_key", (32, 33)),
        )


@dataclass(frozen=True)
class VersionAnswer:
    """Answer of ``Version``."""

    version: str
    rev: str

    @classmethod
    def from_json(cls, value: object) -> VersionAnswer:
        """Reads the JSON answer."""
        answer = Fields(value, "Version answer")
        return cls(answer.text("version"), answer.text("rev"))


def valid_from_json(value: object) -> bool:
    """Reads the answer of ``Verify``."""
    return Fields(value, "Verify answer").boolean("valid")
