"""Clients of the guest agent, blocking and asynchronous."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

import httpx

from . import calls
from .answers import (
    AttestAnswer,
    GpuInfoAnswer,
    InfoAnswer,
    KeyAnswer,
    QuoteAnswer,
    SignAnswer,
    TlsKeyAnswer,
    VersionAnswer,
)
from .calls import Call
from .endpoint import Endpoint, find_endpoint
from .errors import AnswerError, ApiError, BylawError, InputError
from .fields import FieldError, Fields, parse_json
from .hexbytes import HexOrBytes
from .http import CALL_SECONDS, CONNECT_SECONDS, Answer, Limits, exchange, exchange_async

T = TypeVar("T")

_REACHABLE = Limits(connect_seconds=0.5, call_seconds=0.5)


class Client:
    """The app API of the guest agent, blocking.

    Args:
        endpoint: socket path or http(s) base URL; default: the environment variable
            ``DSTACK_SIMULATOR_ENDPOINT``, else the first socket that exists.
        connect_timeout: seconds to wait for a connection.
        call_timeout: seconds to wait for a whole answer.

    Usable as a context manager and from several threads.

    Raises:
        EndpointError: there is nothing to connect to.
    """

    def __init__(
        self,
        endpoint: str | os.PathLike[str] | None = None,
        *,
        connect_timeout: float = CONNECT_SECONDS,
        call_timeout: float = CALL_SECONDS,
    ) -> None:
        self.endpoint = find_endpoint(endpoint)
        self._limits = _limits(connect_timeout, call_timeout)
        # Proxies are for the outside world; keys come from this machine.
        transport = httpx.HTTPTransport(uds=self.endpoint.socket, trust_env=False)
        self._http = httpx.Client(transport=transport, trust_env=False)

    def get_key(self, path: str = "", purpose: str = "", algorithm: str = "secp256k1") -> KeyAnswer:
        """The app's key for ``path``, with the chain that proves it.

        The same 32 bytes serve both algorithms: use different paths for different uses.
        """
        return self._call(calls.get_key(path, purpose, algorithm))

    def get_tls_key(
        self,
        subject: str = "",
        alt_names: Sequence[str] = (),
        *,
        usage_ra_tls: bool = False,
        usage_server_auth: bool = True,
        usage_client_auth: bool = False,
        not_before: int | None = None,
        not_after: int | None = None,
        with_app_info: bool = False,
    ) -> TlsKeyAnswer:
        """A fresh TLS key and its certificate; ``usage_ra_tls`` puts evidence into it.

        Times are Unix seconds; the agent's defaults are 1975 and ten years from now.
        """
        return self._call(
            calls.get_tls_key(
                subject,
                alt_names,
                usage_ra_tls,
                usage_server_auth,
                usage_client_auth,
                not_before,
                not_after,
                with_app_info,
            )
        )

    def get_quote(self, report_data: HexOrBytes) -> QuoteAnswer:
        """A quote over at most 64 bytes, which are padded with zeros, not hashed."""
        return self._call(calls.get_quote(report_data))

    def attest(self, report_data: HexOrBytes) -> AttestAnswer:
        """As :meth:`get_quote`, for every platform and with all that a verifier needs."""
        return self._call(calls.attest(report_data))

    def info(self) -> InfoAnswer:
        """What the agent says of itself and the app."""
        return self._call(calls.info())

    def gpu_info(self) -> GpuInfoAnswer:
        """The GPU attestation of this boot, or empty text."""
        return self._call(calls.gpu_info())

    def sign(self, algorithm: str, data: HexOrBytes) -> SignAnswer:
        """Signs with the app's signing key: ``ed25519``, ``secp256k1`` or
        ``secp256k1_prehashed`` (a 32-byte digest).
        """
        return self._call(calls.sign(algorithm, data))

    def verify(
        self, algorithm: str, data: HexOrBytes, signature: HexOrBytes, public_key: HexOrBytes
    ) -> bool:
        """Whether the signature holds, by the agent's word. It says nothing of whose key
        it is: see :func:`~bylaw_sdk.verify_signature`.
        """
        return self._call(calls.verify(algorithm, data, signature, public_key))

    def emit_event(self, name: str, payload: HexOrBytes) -> None:
        """Extends RTMR3 with an event of the app; this cannot be undone before a reboot."""
        return self._call(calls.emit_event(name, payload))

    def version(self) -> VersionAnswer:
        """Version of the agent."""
        return self._call(calls.version())

    def is_reachable(self) -> bool:
        """Whether an agent answers within half a second."""
        try:
            self._call(calls.version(), _REACHABLE)
        except BylawError:
            return False
        return True

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, call: Call[T], limits: Limits | None = None) -> T:
        request, what = _request(self.endpoint, call), f"{call.method} at {self.endpoint}"
        return _read(call, exchange(self._http, request, limits or self._limits, what))


class AsyncClient:
    """The app API of the guest agent, asynchronous. Arguments as :class:`Client`."""

    def __init__(
        self,
        endpoint: str | os.PathLike[str] | None = None,
        *,
        connect_timeout: float = CONNECT_SECONDS,
        call_timeout: float = CALL_SECONDS,
    ) -> None:
        self.endpoint = find_endpoint(endpoint)
        self._limits = _limits(connect_timeout, call_timeout)
        transport = httpx.AsyncHTTPTransport(uds=self.endpoint.socket, trust_env=False)
        self._http = httpx.AsyncClient(transport=transport, trust_env=False)

    async def get_key(
        self, path: str = "", purpose: str = "", algorithm: str = "secp256k1"
    ) -> KeyAnswer:
        """See :meth:`Client.get_key`."""
        return await self._call(calls.get_key(path, purpose, algorithm))

    async def get_tls_key(
        self,
        subject: str = "",
        alt_names: Sequence[str] = (),
        *,
        usage_ra_tls: bool = False,
        usage_server_auth: bool = True,
        usage_client_auth: bool = False,
        not_before: int | None = None,
        not_after: int | None = None,
        with_app_info: bool = False,
    ) -> TlsKeyAnswer:
        """See :meth:`Client.get_tls_key`."""
        return await self._call(
            calls.get_tls_key(
                subject,
                alt_names,
                usage_ra_tls,
                usage_server_auth,
                usage_client_auth,
                not_before,
                not_after,
                with_app_info,
            )
        )

    async def get_quote(self, report_data: HexOrBytes) -> QuoteAnswer:
        """See :meth:`Client.get_quote`."""
        return await self._call(calls.get_quote(report_data))

    async def attest(self, report_data: HexOrBytes) -> AttestAnswer:
        """See :meth:`Client.attest`."""
        return await self._call(calls.attest(report_data))

    async def info(self) -> InfoAnswer:
        """See :meth:`Client.info`."""
        return await self._call(calls.info())

    async def gpu_info(self) -> GpuInfoAnswer:
        """See :meth:`Client.gpu_info`."""
        return await self._call(calls.gpu_info())

    async def sign(self, algorithm: str, data: HexOrBytes) -> SignAnswer:
        """See :meth:`Client.sign`."""
        return await self._call(calls.sign(algorithm, data))

    async def verify(
        self, algorithm: str, data: HexOrBytes, signature: HexOrBytes, public_key: HexOrBytes
    ) -> bool:
        """See :meth:`Client.verify`."""
        return await self._call(calls.verify(algorithm, data, signature, public_key))

    async def emit_event(self, name: str, payload: HexOrBytes) -> None:
        """See :meth:`Client.emit_event`."""
        return await self._call(calls.emit_event(name, payload))

    async def version(self) -> VersionAnswer:
        """See :meth:`Client.version`."""
        return await self._call(calls.version())

    async def is_reachable(self) -> bool:
        """See :meth:`Client.is_reachable`."""
        try:
            await self._call(calls.version(), _REACHABLE)
        except BylawError:
            return False
        return True

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _call(self, call: Call[T], limits: Limits | None = None) -> T:
        request, what = _request(self.endpoint, call), f"{call.method} at {self.endpoint}"
        return _read(call, await exchange_async(self._http, request, limits or self._limits, what))


def _limits(connect_timeout: float, call_timeout: float) -> Limits:
    if not (connect_timeout > 0 and call_timeout > 0):
        raise InputError("timeouts are seconds above zero")
    return Limits(connect_seconds=connect_timeout, call_seconds=call_timeout)


def _request(endpoint: Endpoint, call: Call[T]) -> httpx.Request:
    return httpx.Request(
        "POST",
        f"{endpoint.base_url}/{call.method}",
        content=json.dumps(call.body).encode(),
        headers={"Content-Type": "application/json"},
    )


def _read(call: Call[T], answer: Answer) -> T:
    if answer.status != 200:
        raise _refusal(call, answer)
    try:
        return call.decode(parse_json(answer.body, f"{call.method} answer"))
    except FieldError as error:
        raise AnswerError(str(error)) from None


def _refusal(call: Call[T], answer: Answer) -> ApiError:
    try:
        fields = Fields(parse_json(answer.body, "error"), "error")
        message = fields.text("error")
        code = fields.text("code") if fields.has("code") else None
    except FieldError:
        return ApiError(call.method, answer.status, f"HTTP status {answer.status}", None)
    return ApiError(call.method, answer.status, message, code)
