"""What a verifier is asked, beyond the shared vectors."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from bylaw_sdk import (
    Expect,
    InputError,
    KeyAnswer,
    KmsRoot,
    Measurements,
    QuoteAnswer,
    Secret,
    SignAnswer,
    VerificationError,
    canonical_compose,
    derived_public_key,
    padded_report_data,
    parse_event_log,
    replay_rtmrs,
    secp256k1,
    verify_key,
    verify_key_answer,
    verify_signature,
)
from bylaw_sdk.event_log import MAX_EVENTS, RuntimeEvent, TdxEvent

from .replay import expect_of, fixed_collateral, verifier_of
from .vectors import load

FILE = load("evidence")
V0 = bytes.fromhex(FILE["attestation_v0"])


def verify(evidence: Any, expect: Expect) -> Any:
    collateral = fixed_collateral({}, FILE)
    assert collateral is not None
    return verifier_of({}, FILE, collateral).verify_evidence(evidence, expect)


def test_a_challenge_is_demanded() -> None:
    with pytest.raises(InputError, match="report_data or tls_key"):
        verify(V0, Expect())
    with pytest.raises(InputError, match="not both"):
        Expect(report_data=bytes(64), tls_key=b"key")


def test_a_tls_key_is_a_challenge() -> None:
    with pytest.raises(VerificationError) as caught:
        verify(V0, Expect(tls_key=b"another key"))
    assert caught.value.code == "report_data_mismatch"


@pytest.mark.parametrize(
    "expect",
    [
        {"report_data": bytes(63)},
        {"report_data": "zz"},
        {"app_id": bytes(19)},
        {"compose_hash": bytes(31)},
        {"device_ids": [bytes(31)]},
        {"device_ids": "00" * 32},
        {"key_provider_id": 7},
        {"tcb_statuses": "UpToDate"},
    ],
)
def test_expectations_that_cannot_be(expect: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Expect(**expect)


def test_measurements_that_would_accept_anything() -> None:
    with pytest.raises(InputError):
        Measurements()
    with pytest.raises(InputError):
        Measurements(mrtd=bytes(47))


@pytest.mark.parametrize(
    ("name", "code"),
    [("device_ids", "device_id"), ("measurements", "measurement"), ("tcb_statuses", "tcb_status")],
)
def test_an_empty_list_allows_nothing(name: str, code: str) -> None:
    nothing: dict[str, Any] = {name: []}
    expect = dataclasses.replace(expect_of(FILE["expect"]), **nothing)
    with pytest.raises(VerificationError) as caught:
        verify(V0, expect)
    assert caught.value.code == code


def test_bytes_and_hexadecimal_are_the_same() -> None:
    expect = FILE["expect"]
    as_bytes = Expect(
        report_data=bytes.fromhex(expect["report_data"]),
        app_id=bytes.fromhex(expect["app_id"]),
        compose_hash="0x" + expect["compose_hash"],
        device_ids=[bytes.fromhex(expect["device_ids"][0])],
        key_provider_id=bytes.fromhex(expect["key_provider_id"]),
    )
    assert verify(V0, as_bytes) == verify(V0, expect_of(expect))


def test_quote_and_log_of_different_boots() -> None:
    answer = QuoteAnswer.from_json(FILE["get_quote"])
    other = dataclasses.replace(answer, event_log="[]")
    with pytest.raises(VerificationError) as caught:
        verify(other, expect_of(FILE["expect"]))
    assert caught.value.code == "event_log"


def test_padded_report_data() -> None:
    assert padded_report_data(b"a") == b"a" + bytes(63)
    assert padded_report_data("61") == b"a" + bytes(63)
    with pytest.raises(InputError):
        padded_report_data(bytes(65))


# --- keys -------------------------------------------------------------------------------

ROOT_SECRET, APP_SECRET, KEY = (bytes([byte]) * 32 for byte in (1, 2, 3))
APP_ID = bytes([4]) * 20
ROOT = KmsRoot(secp256k1.public_key(ROOT_SECRET), b"")


def key_answer(public: bytes, purpose: str = "p") -> KeyAnswer:
    app_public = secp256k1.public_key(APP_SECRET)
    message = b"dstack-kms-issued:" + APP_ID + app_public
    return KeyAnswer(
        Secret(KEY),
        (
            secp256k1.sign(APP_SECRET, secp256k1.keccak256(f"{purpose}:{public.hex()}".encode())),
            secp256k1.sign(ROOT_SECRET, secp256k1.keccak256(message)),
        ),
    )


@pytest.mark.parametrize("algorithm", ["secp256k1", "k256", "", "ed25519"])
def test_a_whole_key_answer(algorithm: str) -> None:
    public = derived_public_key(KeyAnswer(Secret(KEY), (b"", b"")), algorithm)
    answer = key_answer(public)
    expected = secp256k1.public_key(APP_SECRET)
    assert verify_key_answer(ROOT, APP_ID, "p", algorithm, answer) == expected
    assert verify_key(ROOT.k256_public, APP_ID, "p", public, answer.signature_chain) == expected
    other = "secp256k1" if algorithm == "ed25519" else "ed25519"
    bad = [
        (ROOT, APP_ID, "q", algorithm, answer),
        (ROOT, bytes(20), "p", algorithm, answer),
        (ROOT, APP_ID, "p", other, answer),
        (KmsRoot(expected, b""), APP_ID, "p", algorithm, answer),
        (ROOT, APP_ID, "p", algorithm, dataclasses.replace(answer, key=Secret(APP_SECRET))),
    ]
    for arguments in bad:
        with pytest.raises(VerificationError) as caught:
            verify_key_answer(*arguments)
        assert caught.value.code == "key_chain"


def test_a_key_without_kms() -> None:
    public = secp256k1.public_key(KEY)
    answer = key_answer(public)
    with pytest.raises(VerificationError, match="without one"):
        verify_key(ROOT, APP_ID, "p", public, (answer.signature_chain[0], b""))


def test_unknown_algorithms_and_lengths() -> None:
    answer = key_answer(b"")
    with pytest.raises(InputError):
        derived_public_key(answer, "rsa")
    with pytest.raises(InputError):
        derived_public_key(KeyAnswer(Secret(bytes(32)), (b"", b"")))
    with pytest.raises(InputError):
        verify_key(ROOT, APP_ID, "p", bytes(31), answer.signature_chain)
    with pytest.raises(InputError):
        verify_key(bytes(32), APP_ID, "p", bytes(32), answer.signature_chain)


def test_a_signature_with_a_chain_of_another() -> None:
    public = secp256k1.public_key(KEY)
    chain = key_answer(public, "signing").signature_chain
    signature = secp256k1.sign(KEY, bytes(32))[:64]
    good = SignAnswer(signature, (signature, *chain), public)
    assert verify_signature(ROOT, APP_ID, "secp256k1_prehashed", bytes(32), good)
    other = dataclasses.replace(good, signature_chain=(bytes(64), *chain))
    with pytest.raises(VerificationError) as caught:
        verify_signature(ROOT, APP_ID, "secp256k1_prehashed", bytes(32), other)
    assert caught.value.code == "signature"
    with pytest.raises(VerificationError):
        verify_signature(ROOT, APP_ID, "secp256k1_prehashed", b"\x01" + bytes(31), good)
    with pytest.raises(InputError):
        verify_signature(ROOT, APP_ID, "secp256k1_prehashed", bytes(31), good)


# --- small things -----------------------------------------------------------------------


def test_secrets() -> None:
    secret = Secret(b"hidden")
    assert (repr(secret), str(secret), f"{secret}") == ("<secret>",) * 3
    assert f"{Secret('hidden')!r:>10}" == "  <secret>"
    assert secret.expose() == b"hidden"
    assert secret == Secret(b"hidden")
    assert secret != Secret(b"other")
    assert secret != Secret("hidden")
    assert secret != b"hidden"
    assert copy.deepcopy(secret) == secret
    assert dataclasses.asdict(KeyAnswer(secret, (b"", b"")))["key"] == secret
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        hash(secret)


@pytest.mark.parametrize(
    "log",
    [
        "",
        "{}",
        "[7]",
        "[{}]",
        '[{"imr":3,"event_type":1,"digest":"zz","event":"","event_payload":""}]',
        '[{"imr":3,"event_type":1,"digest":"","event":"","event_payload":"","version":3}]',
        '[{"imr":-1,"event_type":1,"digest":"","event":"","event_payload":""}]',
        '[{"imr":true,"event_type":1,"digest":"","event":"","event_payload":""}]',
        '[{"imr":3,"event_type":1,"digest":"","event":"\\ud800","event_payload":""}]',
        "[" + ",".join(["{}"] * (MAX_EVENTS + 1)) + "]",
    ],
    ids=range(10),
)
def test_logs_that_cannot_be_read(log: str) -> None:
    with pytest.raises(InputError):
        parse_event_log(log)
    with pytest.raises(InputError):
        replay_rtmrs(log)


@pytest.mark.parametrize(
    "event",
    [
        TdxEvent(4, 1, bytes(48), "", b""),
        TdxEvent(0, 1, bytes(47), "", b""),
        TdxEvent(0, 1, b"", "", b""),
        TdxEvent(3, 1, b"", "a", b""),
    ],
    ids=range(4),
)
def test_logs_that_cannot_be_replayed(event: TdxEvent) -> None:
    with pytest.raises(InputError, match="entry 0"):
        replay_rtmrs([event])


def test_events_of_version_2_escape_only_what_they_must() -> None:
    event = RuntimeEvent('\u00e4"\\\n\x01\u2028', b"\xff", 2)
    assert event.preimage() == (
        b'{"name":"\xc3\xa4\\"\\\\\\n\\u0001\xe2\x80\xa8","payload":"ff","type":134217729}'
    )


@pytest.mark.parametrize("compose", ["", "[]", "7", b"\xff", '{"a":"\\ud800"}', 7, {"a": b""}])
def test_manifests_that_cannot_be_hashed(compose: Any) -> None:
    with pytest.raises(InputError):
        canonical_compose(compose)


def test_manifests_from_objects() -> None:
    value = {"a": float("nan"), "b": float("inf"), "c": 1.0, "d": (1, 2), "e": 0.5, "f": -0.0}
    assert canonical_compose(value) == '{"a":null,"b":null,"c":1,"d":[1,2],"e":0.5,"f":0}'
    assert canonical_compose('{"a":NaN,"b":-Infinity}') == '{"a":null,"b":null}'
    original = {"runner": "bash", "docker_compose_file": "x"}
    assert canonical_compose(original, normalize=True) == '{"runner":"bash"}'
    assert "docker_compose_file" in original
    not_text: Any = {1: "a"}
    with pytest.raises(InputError):
        canonical_compose(not_text)
