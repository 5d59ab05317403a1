"""Asking a node for the KMS root."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bylaw_sdk import (
    AnswerError,
    InputError,
    TransportError,
    VerificationError,
    fetch_kms_root,
    fetch_kms_root_async,
)

from .agent import http, sending, serve
from .vectors import load

GOOD = next(case for case in load("kms_info") if case["ok"])
ADDRESS = "0x" + "ab" * 20


def result(value: Any) -> bytes:
    return http(200, json.dumps({"jsonrpc": "2.0", "id": 1, "result": value}).encode())


def test_what_is_asked_and_read() -> None:
    asked: list[Any] = []

    def answer(connection: Any, method: str, body: bytes) -> None:
        asked.append(json.loads(body))
        connection.sendall(result("0x" + GOOD["return_data"]))

    with serve(answer) as url:
        for address in (ADDRESS, ADDRESS[2:], bytes.fromhex(ADDRESS[2:])):
            root = fetch_kms_root(url, address)
            assert root.k256_public.hex() == GOOD["k256_public"]
            assert root.ca_spki.hex() == GOOD["ca_spki"]
    assert asked[0] == asked[1] == asked[2]
    assert asked[0]["method"] == "eth_call"
    # The selector of kmsInfo(), at a block that no reorganisation takes back.
    assert asked[0]["params"] == [{"to": ADDRESS, "data": "0x09177063"}, "finalized"]


async def test_asynchronously() -> None:
    with serve(sending(result("0x" + GOOD["return_data"]))) as url:
        root = await fetch_kms_root_async(url, ADDRESS)
    assert root.ca_spki.hex() == GOOD["ca_spki"]


@pytest.mark.parametrize(
    "raw",
    [
        http(200, b""),
        http(200, b"[]"),
        http(200, b"<html>"),
        http(200, b"{}"),
        http(429, b"slow down"),
        result(None),
        result(7),
        result(GOOD["return_data"]),
        result("0xabc"),
        result("0xzz"),
        http(200, b'{"error": {"code": -32000, "message": "no such block"}}'),
        http(200, b'{"error": "text"}'),
        http(200, b'{"error": {"message": 7}}'),
        http(200, b'{"result": "0x", "result": "0x"}'),
        http(200, b" " * 2_000_000),
    ],
    ids=range(15),
)
def test_nodes_that_answer_something_else(raw: bytes) -> None:
    with serve(sending(raw)) as url:
        with pytest.raises(AnswerError):
            fetch_kms_root(url, ADDRESS)


def test_no_contract_there() -> None:
    with serve(sending(result("0x"))) as url:
        with pytest.raises(VerificationError, match="no KmsAuth") as caught:
            fetch_kms_root(url, ADDRESS)
    assert caught.value.code == "kms_root"


def test_a_node_that_cannot_be_reached() -> None:
    with pytest.raises(TransportError) as caught:
        fetch_kms_root("http://127.0.0.1:1/v3/provider-key?k=provider-key", ADDRESS)
    assert "127.0.0.1" in str(caught.value)
    assert "provider-key" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("", ADDRESS),
        ("127.0.0.1:8545", ADDRESS),
        ("ws://127.0.0.1", ADDRESS),
        (7, ADDRESS),
        ("http://127.0.0.1:1", ADDRESS + "00"),
        ("http://127.0.0.1:1", "0xzz"),
    ],
)
def test_arguments(url: Any, address: str) -> None:
    with pytest.raises(InputError):
        fetch_kms_root(url, address)
