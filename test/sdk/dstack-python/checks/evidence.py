"""Quotes, attestations, event logs, Info."""

import hashlib
import json
import secrets

import httpx

from . import quote as tdx
from .system import CheckFailed, System, check, equal, refused

RUNTIME_EVENT = 0x08000001


def digest_v1(event: str, payload: bytes) -> str:
    """What a runtime event of the first version extends RTMR3 by."""
    kind = RUNTIME_EVENT.to_bytes(4, "little")
    return hashlib.sha384(kind + b":" + event.encode() + b":" + payload).hexdigest()


def replayed(answer) -> tdx.Quote:
    """The quote of an answer whose event log explains its registers."""
    quote = tdx.parse(answer.decode_quote())
    registers = answer.replay_rtmrs()
    for index in range(4):
        equal(registers[index], quote.rtmrs[index].hex(), f"RTMR{index} replayed")
    return quote


async def quotes(client, raw, system: System) -> None:
    """GetQuote and Attest carry what was asked."""
    for data in (b"x", "a challenge", secrets.token_bytes(64)):
        asked = (data.encode() if isinstance(data, str) else data).ljust(64, b"\0")
        answer = await client.get_quote(data)
        equal(replayed(answer).report_data, asked, "report data of a quote")
        equal(answer.report_data, asked.hex(), "report data beside a quote")
        json.loads(answer.vm_config)
        attestation = await client.attest(data)
        inner = tdx.within(attestation.decode_attestation())
        equal(inner.report_data, asked, "report data of an attestation")
        equal(inner.mrtd, tdx.parse(answer.decode_quote()).mrtd, "MRTD")
    for method, call in (("GetQuote", client.get_quote), ("Attest", client.attest)):
        for data in (b"", bytes(65)):
            await refused(
                call(data),
                f"{method} of {len(data)} bytes, asked through the SDK",
                saying="report_data",
                by=ValueError,
            )
        # Past the SDK's own check, the agent must refuse too.
        await refused(
            raw(method, {"report_data": "00" * 65}),
            f"{method} of 65 bytes",
            saying="Report data is too long",
            by=httpx.HTTPStatusError,
        )


async def events(client, system: System) -> None:
    """EmitEvent extends RTMR3, and the log says by what."""
    before = await client.get_quote(b"before")
    name, payload = f"sdk-check-{secrets.token_hex(4)}", secrets.token_bytes(20)
    check(await client.emit_event(name, payload) is None, "EmitEvent answers nothing")
    await client.emit_event("sdk-check-text", "a text payload")
    after = await client.get_quote(b"after")

    old, new = replayed(before), replayed(after)
    equal(new.rtmrs[:3], old.rtmrs[:3], "RTMR0 to 2 after an event")
    check(new.rtmrs[3] != old.rtmrs[3], "an event changes RTMR3")
    earlier, log = before.decode_event_log(), after.decode_event_log()
    equal(log[: len(earlier)], earlier, "the log before an event, read after it")
    emitted = log[len(earlier) :]
    for found, (event, data) in zip(
        emitted, [(name, payload), ("sdk-check-text", b"a text payload")], strict=True
    ):
        equal(found.imr, 3, f"the register of {event}")
        equal(found.event_type, RUNTIME_EVENT, f"the type of {event}")
        equal(found.event, event, "an emitted event's name")
        equal(found.event_payload, data.hex(), f"the payload of {event}")
        equal(found.digest, digest_v1(event, data), f"the digest of {event}")
    await refused(
        client.emit_event("", b"x"),
        "an event without a name",
        saying="empty",
        by=ValueError,
    )


def _aggregated(quote: tdx.Quote, rtmr3: bytes) -> str:
    """The aggregated measurement, from the registers of a quote."""
    measured = quote.mrtd + b"".join(quote.rtmrs[:3]) + rtmr3
    if any(quote.config):
        measured += quote.config
    return hashlib.sha256(measured).hexdigest()


def _rtmr3_at_boot(log) -> bytes:
    """RTMR3 when the system became ready, before any event of an app."""
    register = bytes(48)
    for event in log:
        if event.imr == 3:
            register = hashlib.sha384(register + bytes.fromhex(event.digest)).digest()
            if event.event == "system-ready":
                return register
    raise CheckFailed("the event log says when the system became ready")


async def info(client, system: System) -> None:
    """Info agrees with the quote, the log, the compose file and the chain."""
    check(await client.is_reachable(), "the agent is reachable")
    version = await client.version()
    check(bool(version.version), "the agent has a version")

    answer = await client.info()
    quote = replayed(await client.get_quote(b"info"))
    tcb = answer.tcb_info
    equal(bytes.fromhex(answer.app_id), system.app_id, "the app id")
    compose_hash = hashlib.sha256(tcb.app_compose.encode()).hexdigest()
    equal(answer.compose_hash, compose_hash, "the compose hash")
    equal(tcb.compose_hash, compose_hash, "the compose hash in tcb_info")
    equal(json.loads(tcb.app_compose)["name"], answer.app_name, "the app's name")
    provider = json.loads(answer.key_provider_info)
    equal(provider, {"name": "kms", "id": system.ca_spki.hex()}, "the key provider")
    equal(tcb.mrtd, quote.mrtd.hex(), "MRTD")
    rtmrs = (tcb.rtmr0, tcb.rtmr1, tcb.rtmr2, tcb.rtmr3)
    equal(rtmrs, tuple(rtmr.hex() for rtmr in quote.rtmrs), "the registers")
    now = _aggregated(quote, quote.rtmrs[3])
    equal(tcb.mr_aggregated, now, "the aggregated measurement")
    # Beside tcb_info, what the KMS decided about is as good an answer.
    booted = _aggregated(quote, _rtmr3_at_boot(tcb.event_log))
    check(answer.mr_aggregated in (now, booted), "mr_aggregated, now or at boot")
    equal(tcb.os_image_hash, answer.os_image_hash, "os_image_hash in tcb_info")
    equal(tcb.device_id, answer.device_id, "device_id in tcb_info")
    equal(len(bytes.fromhex(answer.device_id)), 32, "bytes in the device id")
    machine = json.loads(answer.vm_config)
    equal(machine["os_image_hash"], answer.os_image_hash, "os_image_hash of the VM")

    measured = {}
    for event in tcb.event_log:
        if event.imr == 3:
            payload = bytes.fromhex(event.event_payload)
            equal(event.digest, digest_v1(event.event, payload), event.event)
            # An app can repeat a name later; the first of each is the boot's.
            measured.setdefault(event.event, payload)
    equal(measured["app-id"].hex(), answer.app_id, "the measured app id")
    equal(measured["compose-hash"].hex(), compose_hash, "the measured compose hash")
    equal(measured["instance-id"].hex(), answer.instance_id, "the measured instance")
    equal(json.loads(measured["key-provider"]), provider, "the measured key provider")
