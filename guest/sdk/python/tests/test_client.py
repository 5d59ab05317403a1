"""Both clients: what they send, what they read, what they refuse."""

from __future__ import annotations

import inspect
import json
import time
from pathlib import Path
from typing import Any

import pytest

from bylaw_sdk import (
    AnswerError,
    ApiError,
    AsyncClient,
    BylawError,
    Client,
    EndpointError,
    InputError,
    TransportError,
)
from bylaw_sdk.endpoint import SOCKETS, find_endpoint

from .agent import ANSWERS, TCB_INFO, Handler, answering, http, sending, serve

CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "GetKey": (("p", "q", "ed25519"), {"path": "p", "purpose": "q", "algorithm": "ed25519"}),
    "GetTlsKey": (
        ("s", ["a", "b"]),
        {
            "subject": "s",
            "alt_names": ["a", "b"],
            "usage_ra_tls": False,
            "usage_server_auth": True,
            "usage_client_auth": False,
            "with_app_info": False,
        },
    ),
    "GetQuote": ((b"\xab",), {"report_data": "ab"}),
    "Attest": (("0xab",), {"report_data": "ab"}),
    "Info": ((), {}),
    "GpuInfo": ((), {}),
    "Sign": (("ed25519", b"\x01"), {"algorithm": "ed25519", "data": "01"}),
    "Verify": (
        ("ed25519", b"\x01", "02", b"\x03"),
        {"algorithm": "ed25519", "data": "01", "signature": "02", "public_key": "03"},
    ),
    "EmitEvent": (("name", b"\xff"), {"event": "name", "payload": "ff"}),
    "Version": ((), {}),
}


def snake(method: str) -> str:
    return "".join(
        f"_{letter.lower()}" if letter.isupper() else letter for letter in method
    ).removeprefix("_")


async def call(kind: str, endpoint: str, method: str, *args: Any, **options: Any) -> Any:
    """One call by either client."""
    timeouts = {key: options.pop(key) for key in list(options) if key.endswith("_timeout")}
    if kind == "sync":
        with Client(endpoint, **timeouts) as client:
            return getattr(client, snake(method))(*args, **options)
    async with AsyncClient(endpoint, **timeouts) as asynchronous:
        return await getattr(asynchronous, snake(method))(*args, **options)


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["socket", "tcp"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "agent.sock" if request.param == "socket" else None


@pytest.mark.parametrize("method", CALLS)
async def test_what_is_sent(kind: str, path: Path | None, method: str) -> None:
    args, body = CALLS[method]
    seen: list[tuple[str, Any]] = []
    with serve(answering(ANSWERS, seen), path) as endpoint:
        await call(kind, endpoint, method, *args)
    assert seen == [(method, body)]


async def test_every_option_of_get_tls_key(kind: str) -> None:
    options = {
        "usage_ra_tls": True,
        "usage_server_auth": False,
        "usage_client_auth": True,
        "not_before": 0,
        "not_after": 5,
        "with_app_info": True,
    }
    seen: list[tuple[str, Any]] = []
    with serve(answering(ANSWERS, seen)) as endpoint:
        await call(kind, endpoint, "GetTlsKey", **options)
    assert seen == [("GetTlsKey", {"subject": "", "alt_names": [], **options})]


async def test_what_is_read(kind: str) -> None:
    with serve(answering(ANSWERS)) as endpoint:
        key = await call(kind, endpoint, "GetKey")
        assert key.key.expose() == b"\xaa" * 32
        assert key.signature_chain == (b"\xbb" * 65, b"\xcc" * 65)
        tls = await call(kind, endpoint, "GetTlsKey")
        assert tls.key.expose() == "PRIVATE KEY TEXT"
        assert tls.certificate_chain == ("leaf", "ca")
        quote = await call(kind, endpoint, "GetQuote", b"")
        assert (quote.quote, quote.attestation) == (b"\x04\x00", b"\x00")
        assert (await call(kind, endpoint, "Attest", b"")).attestation == b"\x00\xff"
        info = await call(kind, endpoint, "Info")
        assert info.tcb_info.rtmr3 == b"\x05" * 48
        assert info.tcb_info.event_log[0].event_payload == b"\x00"
        assert (await call(kind, endpoint, "Sign", "", b"")).signature_chain[2] == b""
        assert await call(kind, endpoint, "Verify", "", b"", b"", b"") is True
        assert await call(kind, endpoint, "EmitEvent", "a", b"") is None
        assert (await call(kind, endpoint, "Version")).rev == "abc"
        assert await call(kind, endpoint, "is_reachable") is True


async def test_optional_parts_of_answers(kind: str) -> None:
    quote = {key: ANSWERS["GetQuote"][key] for key in ANSWERS["GetQuote"] if key != "attestation"}
    off_tdx = json.dumps({**TCB_INFO, "mrtd": None, "rtmr0": None, "unknown": 1})
    answers = {
        "GetQuote": {**quote, "unknown": [1]},
        "Info": {**ANSWERS["Info"], "tcb_info": "", "instance_id": ""},
        "GetKey": {**ANSWERS["GetKey"], "signature_chain": ["bb" * 65, ""]},
    }
    with serve(answering(answers)) as endpoint:
        assert (await call(kind, endpoint, "GetQuote", b"")).attestation == b""
        info = await call(kind, endpoint, "Info")
        assert info.tcb_info is None
        assert info.instance_id == b""
        assert (await call(kind, endpoint, "GetKey")).signature_chain[1] == b""
    with serve(answering({"Info": {**ANSWERS["Info"], "tcb_info": off_tdx}})) as endpoint:
        info = await call(kind, endpoint, "Info")
        assert (info.tcb_info.mrtd, info.tcb_info.rtmr1) == (None, b"\x03" * 48)


def arguments(method: str) -> tuple[Any, ...]:
    return CALLS[method][0]


FIELDS = [
    (method, field)
    for method, answer in ANSWERS.items()
    if isinstance(answer, dict)
    for field in answer
    if field != "attestation" or method != "GetQuote"
]


@pytest.mark.parametrize(("method", "field"), FIELDS)
async def test_a_missing_field_is_named(method: str, field: str) -> None:
    answer = {key: value for key, value in ANSWERS[method].items() if key != field}
    with serve(answering({method: answer})) as endpoint:
        with pytest.raises(AnswerError, match=f"`{field}` is missing"):
            await call("sync", endpoint, method, *arguments(method))


@pytest.mark.parametrize("wrong", [None, 7, 1.5, True, {}, [1], "\ud800"])
@pytest.mark.parametrize(("method", "field"), FIELDS)
async def test_a_field_of_another_type_is_named(method: str, field: str, wrong: Any) -> None:
    if isinstance(wrong, type(ANSWERS[method][field])) and wrong is True:
        wrong = "true"
    with serve(answering({method: {**ANSWERS[method], field: wrong}})) as endpoint:
        with pytest.raises(AnswerError, match=f"`{field}`"):
            await call("sync", endpoint, method, *arguments(method))


@pytest.mark.parametrize(
    ("method", "field", "wrong"),
    [
        ("GetKey", "key", "aa" * 31),
        ("GetKey", "key", "aa" * 33),
        ("GetKey", "key", "zz" * 32),
        ("GetKey", "key", "0x" + "aa" * 31),
        ("GetKey", "key", " ".join(["aa"] * 32)),
        ("GetKey", "signature_chain", ["aa"]),
        ("GetKey", "signature_chain", ["aa", "bb", "cc"]),
        ("GetKey", "signature_chain", ["aa", "b"]),
        ("GetTlsKey", "certificate_chain", []),
        ("GetQuote", "report_data", "ab" * 63),
        ("Info", "app_id", "11" * 19),
        ("Info", "instance_id", "11" * 21),
        ("Info", "device_id", ""),
        ("Info", "tcb_info", "{"),
        ("Info", "tcb_info", "[]"),
        ("Info", "tcb_info", '{"mrtd":1,"mrtd":2}'),
        ("Info", "tcb_info", json.dumps({**TCB_INFO, "rtmr2": "00"})),
        ("Info", "tcb_info", json.dumps({**TCB_INFO, "event_log": [{}]})),
        ("Sign", "signature", "aa" * 63),
        ("Sign", "public_key", "02" * 34),
        ("Sign", "signature_chain", ["aa" * 64]),
    ],
)
async def test_values_that_cannot_be(method: str, field: str, wrong: Any) -> None:
    with serve(answering({method: {**ANSWERS[method], field: wrong}})) as endpoint:
        with pytest.raises(AnswerError):
            await call("sync", endpoint, method, *arguments(method))


@pytest.mark.parametrize("method", ANSWERS)
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"7", b'"text"', b"\xff", b"NaN", b"{}{}", b"[" * 100_000, b'{"a":1,"a":1}'],
    ids=repr,
)
async def test_bodies_that_are_no_answers(kind: str, method: str, body: bytes) -> None:
    with serve(sending(http(200, body))) as endpoint:
        with pytest.raises(AnswerError):
            await call(kind, endpoint, method, *arguments(method))


@pytest.mark.parametrize(
    ("status", "body", "message", "code"),
    [
        (400, b'{"error": "no such thing", "code": "bad_request"}', "no such thing", "bad_request"),
        (400, b'{"error": "of an older agent"}', "of an older agent", None),
        (400, b'{"error": 7}', "HTTP status 400", None),
        (400, b'{"error": "x", "code": 7}', "HTTP status 400", None),
        (404, b"<html>", "HTTP status 404", None),
        (500, b"", "HTTP status 500", None),
        (204, b"", "HTTP status 204", None),
        (302, b"", "HTTP status 302", None),
    ],
)
async def test_refusals(kind: str, status: int, body: bytes, message: str, code: str) -> None:
    raw = http(status, body, "Location: http://127.0.0.1:1/\r\n")
    with serve(sending(raw)) as endpoint:
        with pytest.raises(ApiError) as caught:
            await call(kind, endpoint, "Version")
    assert (caught.value.status, caught.value.message, caught.value.code) == (status, message, code)
    assert str(caught.value).startswith("Version: ")


HUGE = b'{"version":"' + b"x" * (16 * 1024 * 1024) + b'","rev":""}'


def chunked_without_end(connection: Any, method: str, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")


@pytest.mark.parametrize(
    "handler", [sending(http(200, HUGE)), chunked_without_end], ids=["long", "endless"]
)
async def test_too_large(kind: str, handler: Handler) -> None:
    with serve(handler) as endpoint:
        with pytest.raises(AnswerError, match="exceeds 16777216 bytes"):
            await call(kind, endpoint, "Version")


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        http(200, b"{}", "Content-Encoding: gzip\r\n"),
        http(200, b"{}", "Content-Encoding: unknown\r\n"),
        http(200, b"{}", "X: " + "x" * 200_000 + "\r\n"),
    ],
    ids=range(7),
)
async def test_what_is_no_http(kind: str, raw: bytes) -> None:
    with serve(sending(raw)) as endpoint:
        with pytest.raises((AnswerError, TransportError)):
            await call(kind, endpoint, "Version")


def silent(connection: Any, method: str, body: bytes) -> None:
    connection.settimeout(5)
    assert connection.recv(1) == b"", "the client gives up"


def dripping(head: bytes) -> Handler:
    def drip(connection: Any, method: str, body: bytes) -> None:
        connection.sendall(head)
        for _ in range(500):
            connection.sendall(b"a")
            time.sleep(0.01)

    return drip


@pytest.mark.parametrize(
    "handler",
    [
        silent,
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nX-Header: "),
    ],
    ids=["silent", "slow body", "slow head"],
)
async def test_too_slow(kind: str, path: Path | None, handler: Handler) -> None:
    with serve(handler, path) as endpoint:
        started = time.monotonic()
        with pytest.raises(TransportError, match=r"no answer within 0\.2 seconds"):
            await call(kind, endpoint, "Version", call_timeout=0.2)
        assert time.monotonic() - started < 1.5
        started = time.monotonic()
        assert await call(kind, endpoint, "is_reachable") is False
        assert 0.4 < time.monotonic() - started < 2


async def test_nobody_there(kind: str, tmp_path: Path) -> None:
    for endpoint in (str(tmp_path / "none.sock"), "http://127.0.0.1:1"):
        with pytest.raises(TransportError, match="Version"):
            await call(kind, endpoint, "Version")
        assert await call(kind, endpoint, "is_reachable") is False


def test_secrets_do_not_print(tmp_path: Path) -> None:
    with serve(answering(ANSWERS)) as endpoint, Client(endpoint) as client:
        for answer in (client.get_key(), client.get_tls_key()):
            for text in (repr(answer), str(answer), f"{answer}", f"{answer.key}", repr([answer])):
                assert "<secret>" in text
                assert "aaaa" not in text
                assert "\\xaa" not in text
                assert "PRIVATE" not in text


async def test_errors_do_not_quote_answers(kind: str) -> None:
    secret = "deadbeef" * 8
    for body in (f'{{"key": "{secret}"', f'{{"key": "{secret}"}}', f'{{"key": "{secret}zz"}}'):
        with serve(sending(http(200, body.encode()))) as endpoint:
            with pytest.raises(AnswerError) as caught:
                await call(kind, endpoint, "GetKey")
        assert "deadbeef" not in repr(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("GetQuote", (bytes(65),)),
        ("GetQuote", ("0xabc",)),
        ("GetQuote", ("zz",)),
        ("GetQuote", (7,)),
        ("Attest", (bytes(65),)),
        ("GetKey", (7,)),
        ("GetKey", ("", None)),
        ("GetTlsKey", ("", "localhost")),
        ("GetTlsKey", ("", [7])),
        ("Sign", ("ed25519", "text")),
        ("EmitEvent", ("", b"")),
        ("EmitEvent", ("a:b", b"")),
    ],
)
async def test_bad_arguments_are_not_sent(kind: str, method: str, args: tuple[Any, ...]) -> None:
    with pytest.raises(InputError):
        await call(kind, "/nowhere", method, *args)


@pytest.mark.parametrize("time", [-1, 1.5, True, "1", 2**63])
async def test_bad_times(kind: str, time: Any) -> None:
    with pytest.raises(InputError, match="not_after"):
        await call(kind, "/nowhere", "GetTlsKey", not_after=time)


def test_endpoints(tmp_path: Path) -> None:
    there = tmp_path / "there.sock"
    there.touch()
    sockets = (str(tmp_path / "none.sock"), str(there))
    assert find_endpoint(None, {}, sockets).socket == str(there)
    variable = {"DSTACK_SIMULATOR_ENDPOINT": "http://127.0.0.1:8090/"}
    assert find_endpoint(None, variable, sockets).base_url == "http://127.0.0.1:8090"
    assert find_endpoint("/given", variable, sockets).socket == "/given"
    assert find_endpoint(there, variable, sockets).socket == str(there)
    with pytest.raises(EndpointError, match="DSTACK_SIMULATOR_ENDPOINT"):
        find_endpoint(None, {}, sockets[:1])
    for wrong in ("", "ftp://host", "https://", "http://[::1"):
        with pytest.raises(InputError):
            find_endpoint(wrong, {}, sockets)
    assert SOCKETS[0] == "/var/run/dstack.sock"


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_timeouts_must_be_positive(seconds: float) -> None:
    with pytest.raises(InputError):
        Client("/nowhere", call_timeout=seconds)
    with pytest.raises(InputError):
        AsyncClient("/nowhere", connect_timeout=seconds)


def test_both_clients_are_alike() -> None:
    def methods(client: type) -> dict[str, str]:
        return {
            name: str(inspect.signature(function))
            for name, function in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_") and name not in ("close", "aclose")
        }

    assert methods(Client) == methods(AsyncClient)
    assert len(methods(Client)) == 11


def test_every_error_is_ours() -> None:
    for error in (AnswerError, ApiError, EndpointError, InputError, TransportError):
        assert issubclass(error, BylawError)
