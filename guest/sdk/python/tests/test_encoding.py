"""Evidence that is not evidence."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from bylaw_sdk import AttestAnswer, QuoteAnswer, VerificationError
from bylaw_sdk.encoding import MAX_BYTES, TdxEvidence, decode_evidence

from .vectors import ROOT

ATTEST = ROOT / "attest"
VECTORS = json.loads((ATTEST / "attestation-vectors.json").read_text())
V0 = bytes.fromhex(VECTORS["csr_v2_scale"]["attestation_bytes"])
POD = bytes.fromhex(VECTORS["v1_msgpack"][0]["bytes"])


def code_of(data: Any) -> str:
    with pytest.raises(VerificationError) as caught:
        decode_evidence(data)
    return caught.value.code


def test_a_pod() -> None:
    evidence = decode_evidence(POD)
    assert evidence.pod_payload == "hi"
    assert evidence.report_data is not None


def test_a_real_attestation() -> None:
    evidence = decode_evidence((ATTEST / "attestation-v0-full.bin").read_bytes())
    assert evidence.quote[:2] == b"\x04\x00"
    names = [event.event for event in evidence.runtime_events]
    assert names[:3] == ["system-preparing", "app-id", "compose-hash"]


def test_answers_carry_evidence() -> None:
    assert decode_evidence(AttestAnswer(V0)) == decode_evidence(V0)
    assert decode_evidence(QuoteAnswer(b"", "", bytes(64), "", V0)) == decode_evidence(V0)
    answer = {"quote": "0400", "event_log": "[]", "report_data": "00" * 64, "vm_config": ""}
    expected = TdxEvidence(b"\x04\x00", (), (), bytes(64))
    assert decode_evidence(answer) == expected
    assert decode_evidence(QuoteAnswer.from_json(answer)) == expected


@pytest.mark.parametrize("name", ["sev_snp_attestation.bin", "nitro_attestation.bin"])
def test_other_platforms(name: str) -> None:
    assert code_of((ATTEST / name).read_bytes()) == "unsupported_platform"


def test_other_platforms_in_messagepack() -> None:
    assert code_of(bytes.fromhex(VECTORS["v1_msgpack"][1]["bytes"])) == "unsupported_platform"


@pytest.mark.parametrize("data", [V0, POD], ids=["V0", "V1"])
def test_every_length_but_one_is_refused(data: bytes) -> None:
    for length in range(len(data)):
        assert code_of(data[:length]) == "encoding"
    assert code_of(data + b"\0") == "encoding"


@pytest.mark.parametrize(
    "data", [b"", b"\x42", b"\x01", bytes(MAX_BYTES + 1), b"\xde", b"\xdf", b"\x80", b"\x00\x05"]
)
def test_what_begins_as_nothing(data: bytes) -> None:
    assert code_of(data) == "encoding"


@pytest.mark.parametrize("value", [None, 7, "00", []])
def test_other_types(value: Any) -> None:
    assert code_of(value) == "encoding"


def v1(**changes: Any) -> dict[str, Any]:
    """A version 1 attestation, with one part put in another's place."""
    tdx = {"quote": [4, 0], "event_log": [changes.get("entry", ENTRY)], **changes.get("tdx", {})}
    stack = {
        "report_data": [0] * 64,
        "runtime_events": [changes.get("event", EVENT)],
        "config": "",
        **changes.get("data", {}),
    }
    return {
        "version": changes.get("version", 1),
        "platform": changes.get("platform", {"kind": "tdx", "data": tdx}),
        "stack": changes.get("stack", {"kind": "dstack", "data": stack}),
    }


ENTRY = {"imr": 3, "event_type": 1, "digest": b"", "event": "a", "event_payload": b"\0"}
EVENT = {"event": "a", "payload": b"\0"}


def test_the_version_1_used_below_is_good() -> None:
    evidence = decode_evidence(msgpack.packb(v1()))
    assert evidence.runtime_events[0].payload == b"\0"
    listed = v1(event={"event": "a", "payload": [0], "version": 2})
    assert decode_evidence(msgpack.packb(listed)).runtime_events[0].version == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"version": True},
        {"version": "1"},
        {"platform": 7},
        {"platform": {"kind": "tdx"}},
        {"platform": {"kind": 7, "data": {}}},
        {"platform": {"kind": "other", "data": {}}},
        {"platform": {"kind": "tdx", "data": [], "more": 1}},
        {"tdx": {"quote": b"\x04\x00"}},
        {"tdx": {"quote": [256]}},
        {"tdx": {"quote": [-1]}},
        {"tdx": {"quote": [True]}},
        {"tdx": {"quote": "text"}},
        {"tdx": {"more": 1}},
        {"entry": {**ENTRY, "imr": -1}},
        {"entry": {**ENTRY, "imr": 2**32}},
        {"entry": {**ENTRY, "event": b"a"}},
        {"entry": {**ENTRY, "digest": "00"}},
        {"entry": {**ENTRY, "version": 3}},
        {"entry": {**ENTRY, "preimage": 7}},
        {"entry": {**ENTRY, "more": 1}},
        {"entry": {"imr": 3}},
        {"entry": []},
        {"event": {**EVENT, "version": 0}},
        {"event": {**EVENT, "more": 1}},
        {"event": {"event": "a"}},
        {"event": 7},
        {"data": {"report_data": [0] * 63}},
        {"data": {"report_data": bytes(64)}},
        {"data": {"config": 7}},
        {"data": {"runtime_events": {}}},
        {"data": {"report_data_payload": "x"}},
        {"stack": {"kind": "other", "data": {}}},
        {"stack": {"kind": "dstack-pod", "data": {}}},
    ],
    ids=repr,
)
def test_version_1_fields(changes: dict[str, Any]) -> None:
    assert code_of(msgpack.packb(v1(**changes))) == "encoding"


def test_odd_messagepack() -> None:
    for data in (
        b"\x82\xa1a\x01\xa1a\x01",  # a key twice
        b"\x81\x01\x01",  # a key that is no text
        b"\x81\xa1\xff\x01",  # text that is no UTF-8
        b"\x81\xa1a" + b"\x91" * 5000 + b"\x01",  # deep
        b"\xdf\xff\xff\xff\xff",  # a map of 4 billion entries
        b"\x81\xa1a\xd4\x01\x00",  # an extension
    ):
        assert code_of(data) == "encoding"


@pytest.mark.parametrize(
    "length",
    [
        b"\x01\x00",  # 0 in two bytes
        b"\x02\x00\x00\x00",  # 0 in four bytes
        b"\x03\x01\x00\x00\x00",  # 1 in five bytes
        b"\x07\x00\x00\x00\x00\x01",  # more than 32 bits
        b"\x03\x00\x00\x00\x40",  # a claim of 1 GiB
        b"\x01",
        b"\x03\x00",
    ],
)
def test_compact_lengths(length: bytes) -> None:
    assert code_of(b"\x00\x00" + length) == "encoding"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"quote": "0400"},
        {"quote": "0400", "event_log": 7, "report_data": "00" * 64, "vm_config": ""},
        {"quote": "zz", "event_log": "[]", "report_data": "00" * 64, "vm_config": ""},
        {"quote": "0400", "event_log": "[]", "report_data": "00" * 65, "vm_config": ""},
        {"quote": "0400", "event_log": "[", "report_data": "00" * 64, "vm_config": ""},
        {"quote": "0400", "event_log": "{}", "report_data": "00" * 64, "vm_config": ""},
        {"quote": "", "event_log": "[]", "report_data": "00" * 64, "vm_config": ""},
    ],
)
def test_bad_answers_of_get_quote(answer: dict[str, Any]) -> None:
    assert code_of(answer) == "encoding"
