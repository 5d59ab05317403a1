"""HTTP with limits: an answer has a largest size and a latest time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from dataclasses import dataclass
from typing import Any

import httpx

from .errors import AnswerError, TransportError

CONNECT_SECONDS = 3.0
"""Longest wait for a connection."""
CALL_SECONDS = 30.0
"""Longest wait for a whole answer."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Longest answer of the guest agent that is read."""

# A compressed answer would have no size limit worth the name. A connection a call: agents
# restart, event loops end, and only a new connection shows itself to the watch.
_HEADERS = {"Accept-Encoding": "identity", "Connection": "close"}
_STREAM_EVENTS = (
    "connect_tcp.complete",
    "connect_unix_socket.complete",
    "start_tls.complete",
)


@dataclass(frozen=True)
class Limits:
    """How long and how large an answer may be."""

    connect_seconds: float = CONNECT_SECONDS
    call_seconds: float = CALL_SECONDS
    max_bytes: int = MAX_ANSWER_BYTES

    def timeout(self) -> httpx.Timeout:
        """The same, as httpx has it; the whole is bounded by :func:`exchange`."""
        return httpx.Timeout(
            self.call_seconds, connect=min(self.connect_seconds, self.call_seconds)
        )


@dataclass(frozen=True)
class Answer:
    """Status, headers and the whole body."""

    status: int
    headers: httpx.Headers
    body: bytes


def exchange(client: httpx.Client, request: httpx.Request, limits: Limits, what: str) -> Answer:
    """Sends a request and reads the whole answer, within the limits.

    ``what`` names the call in errors; URLs do not, because some hold keys.

    Raises:
        TransportError: no connection, or too slow.
        AnswerError: too large, or not HTTP.
    """
    prepared = _prepare(request, limits)
    with _Watch(limits.call_seconds) as watch:
        prepared.extensions["trace"] = watch.trace
        try:
            answer = client.send(prepared, stream=True, follow_redirects=False)
            try:
                body = _Body(answer, what, limits)
                for chunk in answer.iter_raw():
                    body.add(chunk)
            finally:
                answer.close()
        except httpx.HTTPError as error:
            raise _explain(what, limits, error, watch.expired) from None
        if watch.expired:
            raise _too_slow(what, limits)
        return body.finish()


async def exchange_async(
    client: httpx.AsyncClient, request: httpx.Request, limits: Limits, what: str
) -> Answer:
    """As :func:`exchange`."""
    prepared = _prepare(request, limits)

    async def run() -> Answer:
        answer = await client.send(prepared, stream=True, follow_redirects=False)
        try:
            body = _Body(answer, what, limits)
            async for chunk in answer.aiter_raw():
                body.add(chunk)
            return body.finish()
        finally:
            await answer.aclose()

    try:
        return await asyncio.wait_for(run(), limits.call_seconds)
    except httpx.HTTPError as error:
        raise _explain(what, limits, error, expired=False) from None
    except asyncio.TimeoutError:
        raise _too_slow(what, limits) from None


class _Watch:
    """Cuts the connection of a call that takes too long.

    The timeouts of httpx are for each read, so a server that sends a byte now and then
    could hold a call for hours.
    """

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._stream: Any = None
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> _Watch:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def trace(self, event: str, details: dict[str, Any]) -> None:
        """Learns of each new stream; TLS wraps one into another."""
        if event.endswith(_STREAM_EVENTS):
            self._stream = details["return_value"]
            if self.expired:
                self._cut()

    def _expire(self) -> None:
        self.expired = True
        self._cut()

    def _cut(self) -> None:
        connection = self._stream and self._stream.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Body:
    """Collects the body and refuses what is too large or encoded."""

    def __init__(self, answer: httpx.Response, what: str, limits: Limits) -> None:
        self._answer = answer
        self._what = what
        self._limit = limits.max_bytes
        self._chunks: list[bytes] = []
        self._length = 0
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise AnswerError(f"{what}: the answer is compressed, which is not accepted")

    def add(self, chunk: bytes) -> None:
        self._length += len(chunk)
        if self._length > self._limit:
            raise AnswerError(f"{self._what}: the answer exceeds {self._limit} bytes, the limit")
        self._chunks.append(chunk)

    def finish(self) -> Answer:
        return Answer(self._answer.status_code, self._answer.headers, b"".join(self._chunks))


def _prepare(request: httpx.Request, limits: Limits) -> httpx.Request:
    request.headers.update(_HEADERS)
    request.extensions["timeout"] = limits.timeout().as_dict()
    return request


def _explain(
    what: str, limits: Limits, error: httpx.HTTPError, expired: bool
) -> TransportError | AnswerError:
    if expired:
        return _too_slow(what, limits)
    if isinstance(error, httpx.ConnectTimeout):
        return TransportError(f"{what}: no connection within {limits.connect_seconds:g} seconds")
    if isinstance(error, httpx.TimeoutException):
        return _too_slow(what, limits)
    if isinstance(error, httpx.RemoteProtocolError):
        return AnswerError(f"{what}: the answer is not HTTP: {error}")
    return TransportError(f"{what}: {error}")


def _too_slow(what: str, limits: Limits) -> TransportError:
    return TransportError(f"{what}: no answer within {limits.call_seconds:g} seconds")
