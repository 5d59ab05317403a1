"""Evidence in, appraisal out."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Sequence

from .appraisal import REVOKED, Appraisal, Expect, appraise, check_identity
from .collateral import CollateralSource
from .encoding import Evidence, TdxEvidence, decode_evidence
from .errors import VerificationError
from .event_log import MAX_EVENTS, RuntimeEvent, replay
from .quote import VerifiedTd, collateral_key, verify_quote
from .report_data import tagged
from .trust import Trust


class Verifier:
    """Verifies TDX evidence under one root of trust.

    Args:
        trust: Intel's root, or another for development.
        collateral: where Intel's word about platforms comes from; there is no
            verification without it.
        clock: Unix seconds as of which everything is verified.
    """

    def __init__(
        self,
        trust: Trust,
        collateral: CollateralSource,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._trust = trust
        self._collateral = collateral
        self._clock = clock

    def now(self) -> int:
        """The time as of which it verifies, Unix seconds."""
        return int(self._clock())

    def verify_evidence(self, evidence: Evidence, expect: Expect) -> Appraisal:
        """Verifies evidence, and that it is what is expected. Every step is mandatory.

        Raises:
            VerificationError: ``code`` names the rule that failed.
            InputError: ``expect`` does not say what the evidence must be made for.
        """
        challenge = expect.challenge()
        return self._verify(decode_evidence(evidence), challenge, expect)

    async def verify_evidence_async(self, evidence: Evidence, expect: Expect) -> Appraisal:
        """As :meth:`verify_evidence`, without blocking the event loop."""
        return await asyncio.to_thread(self.verify_evidence, evidence, expect)

    def verify_parsed(self, evidence: TdxEvidence, expect: Expect) -> Appraisal:
        """As :meth:`verify_evidence`, for evidence that is already parsed."""
        return self._verify(evidence, expect.challenge(), expect)

    def _verify(self, evidence: TdxEvidence, challenge: bytes, expect: Expect) -> Appraisal:
        now = self.now()
        key = collateral_key(evidence.quote)
        collateral = self._collateral.collateral(key.fmspc, key.ca)
        td = verify_quote(evidence.quote, self._trust, collateral, now)
        _check_tcb(td, expect)
        _check_report_data(td, evidence, challenge)
        _check_events(td, evidence)
        _check_measurements(td, expect)
        appraisal = appraise(td, evidence.runtime_events, now)
        check_identity(appraisal, expect)
        return appraisal


def _check_tcb(td: VerifiedTd, expect: Expect) -> None:
    if td.tcb_status == REVOKED or td.tcb_status not in expect.tcb_statuses:
        advisories = ", ".join(td.advisory_ids) or "no advisories"
        raise VerificationError(
            "tcb_status",
            f"the platform's TCB status is {td.tcb_status} ({advisories}), accepted: "
            f"{', '.join(expect.tcb_statuses) or 'none'}",
        )


def _check_report_data(td: VerifiedTd, evidence: TdxEvidence, challenge: bytes) -> None:
    wanted = [challenge]
    if evidence.report_data is not None:
        wanted.append(evidence.report_data)
    if evidence.pod_payload is not None:
        wanted.append(tagged(b"app-data", evidence.pod_payload.encode()))
    for expected in wanted:
        if not hmac.compare_digest(expected, td.report_data):
            raise VerificationError(
                "report_data_mismatch",
                f"report data is {td.report_data.hex()}, expected {expected.hex()}: "
                "made for another key or challenge",
            )


def _check_events(td: VerifiedTd, evidence: TdxEvidence) -> None:
    for events in (evidence.runtime_events, evidence.event_log):
        if len(events) > MAX_EVENTS:
            raise VerificationError(
                "event_log", f"the event log has {len(events)} entries; the limit is {MAX_EVENTS}"
            )
    _check_names(evidence.runtime_events)
    replayed = replay(evidence.runtime_events)
    if replayed != td.rtmr3:
        raise VerificationError(
            "event_log", f"the event log replays to {replayed.hex()}, but RTMR3 is {td.rtmr3.hex()}"
        )


def _check_names(events: Sequence[RuntimeEvent]) -> None:
    for event in events:
        # A digest joins name and payload by colons, so a name with one could hide an event.
        if ":" in event.event:
            raise VerificationError(
                "event_log", f"event name {event.event[:80]!r} contains a colon"
            )


def _check_measurements(td: VerifiedTd, expect: Expect) -> None:
    if expect.measurements is None:
        return
    if not any(known.fit(td) for known in expect.measurements):
        raise VerificationError(
            "measurement",
            f"MRTD {td.mrtd.hex()}, RTMR0 {td.rtmr0.hex()}, RTMR1 {td.rtmr1.hex()}, RTMR2 "
            f"{td.rtmr2.hex()} are none of the {len(expect.measurements)} expected images",
        )
