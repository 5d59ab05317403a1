"""The system under test, as the environment and the chain describe it."""

import os
from dataclasses import dataclass
from typing import NoReturn

import httpx
from eth_abi import decode
from eth_utils import keccak


class CheckFailed(Exception):
    """An answer does not mean what it should."""


def check(condition: bool, claim: str) -> None:
    """Refuse to go on unless the claim holds."""
    if not condition:
        raise CheckFailed(claim)


def equal(found: object, expected: object, claim: str) -> None:
    """Refuse to go on unless both are the same, and say how they differ."""
    if found != expected:
        raise CheckFailed(f"{claim}: found {found!r}, expected {expected!r}")


async def refused(call, claim: str, *, saying: str, by: type[Exception]) -> None:
    """The call must fail, in this way, with a message holding these words."""
    try:
        answer = await call
    except by as error:
        response = getattr(error, "response", None)
        text = f"{error} {response.text if response is not None else ''}"
        check(saying in text, f"{claim}: refused without saying {saying!r}: {text}")
        return
    raise CheckFailed(f"{claim}: accepted with {answer!r}")


def hexadecimal(text: str) -> bytes:
    """Bytes of a hex text, with or without 0x."""
    return bytes.fromhex(text.removeprefix("0x"))


@dataclass(frozen=True)
class System:
    """Identities everything the agent says must lead to."""

    app_id: bytes
    root_k256: bytes
    ca_spki: bytes
    kms_url: str | None


def _missing(name: str) -> NoReturn:
    raise CheckFailed(f"set {name}: the checks compare answers with it")


def _variable(name: str) -> str:
    return os.environ.get(name) or _missing(name)


def _kms_info() -> tuple[bytes, bytes]:
    """The root keys the KMS contract publishes: k256, CA."""
    request = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "eth_call",
        "params": [
            {
                "to": _variable("KMS_CONTRACT_ADDR"),
                "data": "0x" + keccak(b"kmsInfo()")[:4].hex(),
            },
            "latest",
        ],
    }
    answer = httpx.post(_variable("ETH_RPC_URL"), json=request).json()
    check("result" in answer, f"eth_call kmsInfo(): {answer.get('error')}")
    k256, ca, _quote, _log = decode(
        ["bytes", "bytes", "bytes", "bytes"], hexadecimal(answer["result"])
    )
    return k256, ca


def load() -> System:
    """From the environment; root keys it leaves out come from the chain."""
    k256 = os.environ.get("KMS_ROOT_K256")
    spki = os.environ.get("KMS_CA_SPKI")
    published = (b"", b"") if k256 and spki else _kms_info()
    system = System(
        app_id=hexadecimal(_variable("APP_CONTRACT_ADDR")),
        root_k256=hexadecimal(k256) if k256 else published[0],
        ca_spki=hexadecimal(spki) if spki else published[1],
        kms_url=os.environ.get("KMS_URL"),
    )
    equal(len(system.app_id), 20, "bytes in APP_CONTRACT_ADDR")
    equal(len(system.root_k256), 33, "bytes in the root k256 key, compressed")
    return system
