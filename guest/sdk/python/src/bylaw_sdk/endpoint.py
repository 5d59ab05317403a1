"""Where the guest agent listens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .errors import EndpointError, InputError

ENDPOINT_VARIABLE = "DSTACK_SIMULATOR_ENDPOINT"
"""Environment variable that names the endpoint when no argument does."""
SOCKETS = (
    "/var/run/dstack.sock",
    "/run/dstack.sock",
    "/var/run/dstack/dstack.sock",
    "/run/dstack/dstack.sock",
)
"""Where containers find the socket, in the order in which it is looked for."""


@dataclass(frozen=True)
class Endpoint:
    """A Unix socket, or an HTTP base URL without trailing slash."""

    base_url: str
    socket: str | None = None

    def __str__(self) -> str:
        return self.socket or self.base_url


def find_endpoint(
    given: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
    sockets: tuple[str, ...] = SOCKETS,
) -> Endpoint:
    """The argument, else the environment, else the first socket that exists.

    Raises:
        EndpointError: nothing is given and no socket exists.
        InputError: the value is neither a path nor an http(s) URL.
    """
    environment = os.environ if environment is None else environment
    value = os.fspath(given) if given is not None else environment.get(ENDPOINT_VARIABLE, "")
    if given is not None and not value:
        raise InputError("the endpoint is empty; give a socket path or an http(s) URL")
    if not value:
        value = next((path for path in sockets if Path(path).exists()), "")
    if not value:
        raise EndpointError(
            f"no guest agent: {ENDPOINT_VARIABLE} is not set and none of {', '.join(sockets)} "
            "exists; mount the socket into the container or name an endpoint"
        )
    return _parse(value)


def _parse(value: str) -> Endpoint:
    if "://" not in value:
        return Endpoint("http://localhost", socket=value)
    try:
        url = urlsplit(value)
        usable = url.scheme in ("http", "https") and bool(url.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise InputError(
            f"endpoint {value!r} is neither a socket path nor a URL that starts with "
            "http:// or https://"
        )
    return Endpoint(value.rstrip("/"))
