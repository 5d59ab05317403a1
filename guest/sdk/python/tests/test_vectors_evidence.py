"""evidence.json."""

from __future__ import annotations

from typing import Any

import pytest

from bylaw_sdk import Evidence, Expect, Pccs, QuoteAnswer, VerificationError

from .replay import (
    allowed_codes,
    assert_appraisal,
    collateral_service,
    expect_of,
    fixed_collateral,
    value_of,
    verifier_of,
)
from .vectors import load, named

FILE = load("evidence")
GOOD, BAD = FILE["good"], FILE["bad"]
# Without it, only the service can be asked.
WITH_COLLATERAL = [case for case in BAD if value_of(case, FILE, "collateral") is not None]
FORMS = ["attestation_v0", "attestation_v1", "get_quote"]


def evidence_of(case: dict[str, Any]) -> Evidence:
    if "bytes" in case:
        return bytes.fromhex(case["bytes"])
    if "json" in case:
        return dict(case["json"])
    return own_evidence(case["base"])


def own_evidence(form: str) -> Evidence:
    value = FILE[form]
    return dict(value) if form == "get_quote" else bytes.fromhex(value)


def expected(case: dict[str, Any]) -> Expect:
    return expect_of(value_of(case, FILE, "expect"))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_appraised_alike(form: str) -> None:
    collateral = fixed_collateral({}, FILE)
    assert collateral is not None
    verifier = verifier_of({}, FILE, collateral)
    appraisal = verifier.verify_evidence(own_evidence(form), expected({}))
    assert_appraisal(appraisal, FILE["appraisal"])
    assert appraisal.verified_at == FILE["time"]


async def test_asynchronously() -> None:
    with collateral_service(FILE["pccs"]) as url:
        verifier = verifier_of({}, FILE, Pccs(url))
        quote = QuoteAnswer.from_json(FILE["get_quote"])
        appraisal = await verifier.verify_evidence_async(quote, expected({}))
    assert_appraisal(appraisal, FILE["appraisal"])


@pytest.mark.parametrize("case", GOOD, ids=named(GOOD))
def test_good(case: dict[str, Any]) -> None:
    collateral = fixed_collateral(case, FILE)
    assert collateral is not None
    verifier = verifier_of(case, FILE, collateral)
    appraisal = verifier.verify_evidence(evidence_of(case), expected(case))
    challenge = value_of(case, FILE, "expect")["report_data"]
    assert appraisal.report_data.hex() == challenge


@pytest.mark.parametrize("case", WITH_COLLATERAL, ids=named(WITH_COLLATERAL))
def test_bad(case: dict[str, Any]) -> None:
    collateral = fixed_collateral(case, FILE)
    assert collateral is not None
    verifier = verifier_of(case, FILE, collateral)
    with pytest.raises(VerificationError) as caught:
        verifier.verify_evidence(evidence_of(case), expected(case))
    assert caught.value.code in allowed_codes(case), caught.value


@pytest.mark.parametrize("case", BAD, ids=named(BAD))
def test_bad_through_a_service(case: dict[str, Any]) -> None:
    with collateral_service(value_of(case, FILE, "pccs")) as url:
        verifier = verifier_of(case, FILE, Pccs(url))
        with pytest.raises(VerificationError) as caught:
            verifier.verify_evidence(evidence_of(case), expected(case))
    assert caught.value.code in allowed_codes(case), caught.value


def test_the_service_says_what_the_file_says() -> None:
    collateral = fixed_collateral({}, FILE)
    assert collateral is not None
    with collateral_service(FILE["pccs"]) as url:
        for base in (url, url + "/", url + "/sgx/certification/v4/", url + "/tdx/certification/v4"):
            assert Pccs(base).collateral("513e7e000000", "platform") == collateral.value
