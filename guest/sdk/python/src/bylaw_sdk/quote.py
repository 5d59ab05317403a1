"""Intel TDX quotes, verified by dcap-qvl."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import dcap_qvl

from .collateral import Collateral
from .errors import VerificationCode, VerificationError
from .trust import Trust

T = TypeVar("T")

MAX_QUOTE_BYTES = 64 * 1024
"""Longest quote that is read. Real ones have about 5,000 bytes."""

_TD_DEBUG = 1
_ZERO_REGISTER = bytes(48)

# The verifier's sentences, by what is at fault; the first that fits counts. A sentence
# that none fits is still a refusal: "quote". So is a chain that does not verify, because
# the sentence leaves open whose it is.
_SENTENCES: tuple[tuple[VerificationCode, tuple[str, ...]], ...] = (
    ("debug", ("Debug mode is enabled",)),
    ("tcb_status", ("TCB status is invalid",)),
    ("quote", ("qe_report in quote", "QE report hash", "ISV enclave report")),
    ("collateral", ("TCBInfo", "TcbInfo", "TCB Info", "tcb_info", "Fmspc mismatch")),
    ("collateral", ("QE Identity", "QeIdentity", "qe_identity", "CRL", "Crl")),
    ("chain", ("evoked", "PCK certificate", "root ca")),
)


@dataclass(frozen=True)
class VerifiedTd:
    """A TD report whose signatures, chain and platform were verified."""

    mrtd: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    report_data: bytes
    tcb_status: str
    advisory_ids: tuple[str, ...]
    device_id: bytes


@dataclass(frozen=True)
class CollateralKey:
    """Which collateral a quote needs: platform family in lower-case hex, issuing CA."""

    fmspc: str
    ca: str


def parse_tdx(quote: bytes) -> Any:
    """Parses a quote, unverified.

    Raises:
        VerificationError: ``quote``, or ``unsupported_platform`` for SGX.
    """
    if len(quote) > MAX_QUOTE_BYTES:
        raise VerificationError(
            "quote", f"the quote has {len(quote)} bytes; the limit is {MAX_QUOTE_BYTES}"
        )
    parsed = _guarded("quote", "not a TDX quote", lambda: dcap_qvl.parse_quote(quote))
    if not parsed.is_tdx():
        raise VerificationError("unsupported_platform", "it is an SGX quote, not a TDX quote")
    return parsed


def collateral_key(quote: bytes) -> CollateralKey:
    """Which collateral verifying this quote needs.

    Raises:
        VerificationError: ``quote``.
    """
    parsed = parse_tdx(quote)
    said = "the quote carries no usable PCK certificate"
    fmspc = _guarded("quote", said, parsed.fmspc)
    ca = _guarded("quote", said, parsed.ca)
    return CollateralKey(str(fmspc).lower(), str(ca))


def verify_quote(quote: bytes, trust: Trust, collateral: Collateral, now: int) -> VerifiedTd:
    """Verifies signatures, chain, CRLs, TCB and QE identity as of ``now``, Unix seconds.

    Debug TDs, modules that are not Intel's and TDs bound to a service TD are refused here:
    they are never policy. The TCB status is reported, and judged by the caller.

    Raises:
        VerificationError: ``quote``, ``chain``, ``collateral``, ``debug``, ``tcb_status``.
    """
    report = parse_tdx(quote).report
    material = collateral.for_verifier()
    try:
        if trust.root_der is None:
            verified = _run(lambda: dcap_qvl.verify(quote, material, now))
        else:
            root = trust.root_der
            verified = _run(lambda: dcap_qvl.verify_with_root_ca(quote, material, root, now))
    except _Refused as refused:
        sentence = " ".join(str(refused).split())
        raise VerificationError(
            _classify(sentence), f"the quote does not hold: {sentence}"
        ) from None
    # The library refuses these, too; they are too grave to rest on one check.
    if report.td_attributes[0] & _TD_DEBUG:
        raise VerificationError("debug", "the TD runs in debug mode: its host can read its memory")
    if report.mr_signer_seam != _ZERO_REGISTER:
        raise VerificationError("quote", "MRSIGNERSEAM is not zero: the TDX module is not Intel's")
    if getattr(report, "mr_service_td", _ZERO_REGISTER) != _ZERO_REGISTER:
        raise VerificationError("quote", "MRSERVICETD is not zero: a service TD may touch the TD")
    return VerifiedTd(
        mrtd=report.mr_td,
        rtmr0=report.rt_mr0,
        rtmr1=report.rt_mr1,
        rtmr2=report.rt_mr2,
        rtmr3=report.rt_mr3,
        mr_config_id=report.mr_config_id,
        mr_owner=report.mr_owner,
        mr_owner_config=report.mr_owner_config,
        report_data=report.report_data,
        tcb_status=str(verified.status),
        advisory_ids=tuple(str(advisory) for advisory in verified.advisory_ids),
        device_id=hashlib.sha256(verified.ppid).digest(),
    )


class _Refused(Exception):
    """The library's refusal, whatever its type was."""


def _run(action: Callable[[], T]) -> T:
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - every error of the library is a refusal
        raise _Refused(str(error)) from None
    except BaseException as error:
        # A panic of the library is no Exception; nothing else may be swallowed.
        if type(error).__name__ != "PanicException":
            raise
        raise _Refused("the verifier failed") from None


def _guarded(code: VerificationCode, said: str, action: Callable[[], T]) -> T:
    try:
        return _run(action)
    except _Refused as refused:
        raise VerificationError(code, f"{said}: {refused}") from None


def _classify(sentence: str) -> VerificationCode:
    for code, parts in _SENTENCES:
        if any(part in sentence for part in parts):
            return code
    return "quote"
