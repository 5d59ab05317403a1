"""Collateral: what Intel says about platforms, and where it comes from.

Nothing a source returns is believed: it is signed, dated and checked together with the
quote. A source can only fail to help.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import dcap_qvl
import httpx

from .errors import AnswerError, InputError, TransportError, VerificationError
from .fields import FieldError, Fields, parse_json
from .hexbytes import from_hex
from .http import Answer, Limits, exchange

MAX_ANSWER_BYTES = 1024 * 1024
"""Longest answer of a collateral service that is read. Real ones have up to 30,000."""
INTEL_PCS = "https://api.trustedservices.intel.com"
"""Intel's own service."""

_INTEL_ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
_API_PATHS = ("/sgx/certification/v4", "/tdx/certification/v4")


@dataclass(frozen=True)
class Collateral:
    """Collateral of one platform family. CRLs are DER, signatures raw, the rest text."""

    pck_crl_issuer_chain: str
    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: bytes
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: bytes

    @classmethod
    def from_json(cls, value: object) -> Collateral:
        """Reads the form with hexadecimal for bytes, as JSON text or parsed.

        Raises:
            InputError: a field is missing or of another kind.
        """
        what = "collateral"
        try:
            form = Fields(
                parse_json(value, what) if isinstance(value, (str, bytes)) else value, what
            )
            return cls(
                pck_crl_issuer_chain=form.text("pck_crl_issuer_chain"),
                root_ca_crl=form.hex("root_ca_crl"),
                pck_crl=form.hex("pck_crl"),
                tcb_info_issuer_chain=form.text("tcb_info_issuer_chain"),
                tcb_info=form.text("tcb_info"),
                tcb_info_signature=form.hex("tcb_info_signature"),
                qe_identity_issuer_chain=form.text("qe_identity_issuer_chain"),
                qe_identity=form.text("qe_identity"),
                qe_identity_signature=form.hex("qe_identity_signature"),
            )
        except FieldError as error:
            raise InputError(str(error)) from None

    def for_verifier(self) -> Any:
        """The quote verifier's own form."""
        return dcap_qvl.QuoteCollateralV3(
            self.pck_crl_issuer_chain,
            self.root_ca_crl,
            self.pck_crl,
            self.tcb_info_issuer_chain,
            self.tcb_info,
            self.tcb_info_signature,
            self.qe_identity_issuer_chain,
            self.qe_identity,
            self.qe_identity_signature,
        )


class CollateralSource(Protocol):
    """Where collateral comes from."""

    def collateral(self, fmspc: str, ca: str) -> Collateral:
        """Collateral for a platform family.

        Args:
            fmspc: 6 bytes in lower-case hex.
            ca: ``processor`` or ``platform``.

        Raises:
            VerificationError: code ``collateral``.
        """


@dataclass(frozen=True)
class FixedCollateral:
    """Collateral that is at hand; for tests, and where there is no network."""

    value: Collateral

    def collateral(self, fmspc: str, ca: str) -> Collateral:  # noqa: ARG002
        """The same for every platform; a wrong one does not verify."""
        return self.value


class Pccs:
    """A PCCS, or Intel's PCS.

    Args:
        url: base URL; an API path at its end is cut off.
        timeout: seconds for each of four answers.
    """

    def __init__(self, url: str = INTEL_PCS, timeout: float = 10.0) -> None:
        base = url.rstrip("/")
        for path in _API_PATHS:
            base = base.removesuffix(path)
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"collateral service {url!r} is not an http(s) URL")
        self.url = base
        self._is_intel = parts.hostname.endswith("trustedservices.intel.com")
        self._limits = Limits(min(3.0, timeout), timeout, MAX_ANSWER_BYTES)

    def collateral(self, fmspc: str, ca: str) -> Collateral:
        """Asks the service; see :class:`CollateralSource`."""
        with httpx.Client() as client:
            try:
                return self._fetch(client, fmspc, ca)
            except (TransportError, AnswerError) as error:
                raise VerificationError(
                    "collateral", f"no collateral from {self.url}: {error}"
                ) from None

    def _fetch(self, client: httpx.Client, fmspc: str, ca: str) -> Collateral:
        sgx, tdx = (self.url + path for path in _API_PATHS)
        pck_crl = self._get(client, f"{sgx}/pckcrl", ca=ca, encoding="der")
        root_crl = self._root_crl(client, sgx)
        tcb = self._get(client, f"{tdx}/tcb", fmspc=fmspc)
        qe = self._get(client, f"{tdx}/qe/identity", update="standard")
        tcb_info, tcb_info_signature = signed_member(tcb.body, "tcbInfo")
        qe_identity, qe_identity_signature = signed_member(qe.body, "enclaveIdentity")
        return Collateral(
            pck_crl_issuer_chain=_issuer_chain(pck_crl, "SGX-PCK-CRL-Issuer-Chain"),
            root_ca_crl=_der(root_crl),
            pck_crl=_der(pck_crl),
            tcb_info_issuer_chain=_issuer_chain(
                tcb, "TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"
            ),
            tcb_info=tcb_info,
            tcb_info_signature=tcb_info_signature,
            qe_identity_issuer_chain=_issuer_chain(qe, "SGX-Enclave-Identity-Issuer-Chain"),
            qe_identity=qe_identity,
            qe_identity_signature=qe_identity_signature,
        )

    def _root_crl(self, client: httpx.Client, sgx: str) -> Answer:
        # A PCCS serves it; Intel's own service has it only at its distribution point.
        if self._is_intel:
            return self._get(client, _INTEL_ROOT_CRL)
        return self._get(client, f"{sgx}/rootcacrl")

    def _get(self, client: httpx.Client, url: str, **query: str) -> Answer:
        path = urlsplit(url).path
        request = httpx.Request("GET", url, params=query or None)
        answer = exchange(client, request, self._limits, path)
        if answer.status != 200:
            raise AnswerError(f"{path} answered with HTTP status {answer.status}")
        return answer


class CachedCollateral:
    """Keeps what another source answered, for a while.

    What it keeps is verified again with every quote, so a long time only risks refusing
    platforms whose collateral has run out, or missing a newer revocation.

    Args:
        source: the source that is asked.
        seconds: how long an answer is kept.
    """

    # The platform family comes from an unverified quote, so it must not fill the memory.
    _MOST = 64

    def __init__(
        self,
        source: CollateralSource,
        seconds: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], tuple[float, Collateral]] = OrderedDict()
        self._lock = threading.Lock()

    def collateral(self, fmspc: str, ca: str) -> Collateral:
        """From memory while it is fresh; see :class:`CollateralSource`."""
        key = (fmspc, ca)
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and self._clock() - kept[0] < self._seconds:
            return kept[1]
        asked = self._clock()
        fresh = self._source.collateral(fmspc, ca)
        with self._lock:
            self._kept[key] = (asked, fresh)
            self._kept.move_to_end(key)
            while len(self._kept) > self._MOST:
                self._kept.popitem(last=False)
        return fresh


def signed_member(body: bytes, name: str) -> tuple[str, bytes]:
    """The member's exact text, because Intel signs those bytes, and the signature beside it."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise FieldError(f"{name} answer is not UTF-8") from None
    signature = Fields(parse_json(text, f"{name} answer"), f"{name} answer").hex("signature")
    return _member_text(text, name), signature


def _member_text(text: str, name: str) -> str:
    """The source text of one member of a JSON object that has already been parsed once."""
    decoder = json.JSONDecoder()
    at = _skip_space(text, 0) + 1
    while text[(at := _skip_space(text, at))] != "}":
        key, at = decoder.raw_decode(text, at)
        start = _skip_space(text, _skip_space(text, at) + 1)
        _, end = decoder.raw_decode(text, start)
        if key == name:
            return text[start:end]
        at = _skip_space(text, end)
        if text[at] == ",":
            at += 1
    raise FieldError(f"{name} answer: field `{name}` is missing")


def _skip_space(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _issuer_chain(answer: Answer, *names: str) -> str:
    for name in names:
        if name in answer.headers:
            return unquote(answer.headers[name])
    raise AnswerError(f"header {' or '.join(names)} is missing")


def _der(answer: Answer) -> bytes:
    """Some services send CRLs as hexadecimal text."""
    try:
        decoded = from_hex(answer.body.decode("ascii").strip())
    except UnicodeDecodeError:
        decoded = None
    return decoded or answer.body
