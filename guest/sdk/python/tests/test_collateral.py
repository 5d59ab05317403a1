"""Collateral services that do not help."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bylaw_sdk import (
    AnswerError,
    CachedCollateral,
    Collateral,
    InputError,
    Pccs,
    VerificationError,
)
from bylaw_sdk.collateral import signed_member

from .replay import collateral_service
from .vectors import ROOT, load

PCCS = load("evidence")["pccs"]
COLLATERAL = load("evidence")["collateral"]
TCB = "/tdx/certification/v4/tcb"
QE = "/tdx/certification/v4/qe/identity"
CRL = "/sgx/certification/v4/pckcrl"


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        (TCB, {"status": 404}),
        (TCB, {"status": 500}),
        (TCB, {"headers": {}}),
        (TCB, {"body": b"{}".hex()}),
        (TCB, {"body": b"[]".hex()}),
        (TCB, {"body": b"".hex()}),
        (TCB, {"body": b"\xff".hex()}),
        (TCB, {"body": b'{"signature":"00"}'.hex()}),
        (TCB, {"body": b'{"tcbInfo":{}}'.hex()}),
        (TCB, {"body": b'{"tcbInfo":{},"signature":"zz"}'.hex()}),
        (TCB, {"body": b'{"tcbInfo":{},"tcbInfo":{},"signature":"00"}'.hex()}),
        (TCB, {"body": (b" " * 1_100_000).hex()}),
        (QE, {"headers": {}}),
        (QE, {"body": b'{"tcbInfo":{},"signature":"00"}'.hex()}),
        (CRL, {"headers": {}}),
        ("/sgx/certification/v4/rootcacrl", {"status": 302}),
    ],
    ids=range(16),
)
def test_services_that_answer_something_else(path: str, changes: dict[str, Any]) -> None:
    pccs = copy.deepcopy(PCCS)
    pccs[path].update(changes)
    with collateral_service(pccs) as url:
        with pytest.raises(VerificationError, match="no collateral from") as caught:
            Pccs(url).collateral("513e7e000000", "platform")
    assert caught.value.code == "collateral"


def test_a_dead_service_is_named() -> None:
    with pytest.raises(VerificationError, match=r"127\.0\.0\.1:1") as caught:
        Pccs("http://127.0.0.1:1").collateral("513e7e000000", "platform")
    assert caught.value.code == "collateral"


@pytest.mark.parametrize("url", ["", "pccs.example", "ftp://pccs.example", "http://"])
def test_urls(url: str) -> None:
    with pytest.raises(InputError):
        Pccs(url)


@pytest.mark.parametrize(
    ("file", "name", "part"),
    [
        ("sample_tcbInfo_response", "tcbInfo", "50806f000000"),
        ("sample_tcbinfo_response_v5", "tcbInfo", "90c06f000000"),
        ("sample_qeIdentity_response", "enclaveIdentity", "TD_QE"),
    ],
)
def test_the_signed_text_is_taken_as_it_stands(file: str, name: str, part: str) -> None:
    body = (ROOT / "attest" / "tdx" / "gotdx-collateral" / file).read_bytes()
    text, signature = signed_member(body, name)
    assert text.encode() in body
    assert part.lower() in text.lower()
    assert len(signature) == 64


def test_signed_text_between_odd_blanks() -> None:
    body = b' { "signature" : "00" ,\n"x":[1,{"tcbInfo":9}],"tcbInfo"\t: {"a": [ 1 ]} } '
    assert signed_member(body, "tcbInfo") == ('{"a": [ 1 ]}', b"\0")
    with pytest.raises(AnswerError):
        signed_member(b'{"signature":"00","x":{"tcbInfo":1}}', "tcbInfo")


class Counting:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def collateral(self, fmspc: str, ca: str) -> Collateral:
        self.asked.append((fmspc, ca))
        if fmspc == "bad":
            raise VerificationError("collateral", "none")
        return Collateral.from_json(COLLATERAL)


def test_a_cache_asks_once_while_it_is_fresh() -> None:
    time = [0.0]
    source = Counting()
    cached = CachedCollateral(source, seconds=10, clock=lambda: time[0])
    for now in (0.0, 9.9, 10.0, 19.0):
        time[0] = now
        assert cached.collateral("a", "platform") == Collateral.from_json(COLLATERAL)
    assert len(source.asked) == 2
    cached.collateral("a", "processor")
    assert len(source.asked) == 3


def test_a_cache_keeps_no_failures_and_no_crowd() -> None:
    source = Counting()
    cached = CachedCollateral(source)
    for _ in range(2):
        with pytest.raises(VerificationError):
            cached.collateral("bad", "platform")
    assert len(source.asked) == 2
    for number in range(1000):
        cached.collateral(str(number), "platform")
    assert len(cached._kept) == 64
    cached.collateral("999", "platform")
    assert len(source.asked) == 1002


@pytest.mark.parametrize("name", COLLATERAL)
def test_collateral_fields(name: str) -> None:
    with pytest.raises(InputError, match=name):
        Collateral.from_json({key: value for key, value in COLLATERAL.items() if key != name})
    with pytest.raises(InputError, match=name):
        Collateral.from_json({**COLLATERAL, name: 7})
    for wrong in ("", "[]", b"\xff"):
        with pytest.raises(InputError):
            Collateral.from_json(wrong)
