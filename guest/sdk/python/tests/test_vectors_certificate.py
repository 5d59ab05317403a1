"""certificate.json."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bylaw_sdk import (
    KmsRoot,
    VerificationError,
    VerifiedCertificate,
    verify_certificate,
    verify_certificate_async,
)

from .replay import (
    allowed_codes,
    assert_appraisal,
    expect_of,
    fixed_collateral,
    value_of,
    verifier_of,
)
from .vectors import load, named

FILE = load("certificate")
GOOD, BAD = FILE["good"], FILE["bad"]


def root_of(case: dict[str, Any]) -> KmsRoot | None:
    spki = value_of(case, FILE, "kms_ca_spki")
    return None if spki is None else KmsRoot(b"", bytes.fromhex(spki))


def run(case: dict[str, Any], chain: Any = None) -> VerifiedCertificate:
    collateral = fixed_collateral(case, FILE)
    assert collateral is not None
    return verify_certificate(
        verifier_of(case, FILE, collateral),
        value_of(case, FILE, "chain") if chain is None else chain,
        root_of(case),
        expect_of(value_of(case, FILE, "expect")),
    )


def test_the_chain() -> None:
    verified = run({})
    assert_appraisal(verified.appraisal, FILE["appraisal"])
    assert verified.issued_by_root
    assert verified.usage == "app:custom"
    leaf = x509.load_pem_x509_certificate(FILE["chain"][0].encode())
    assert leaf.subject.rfc4514_string() == f"CN={verified.subject}"
    assert verified.not_after == leaf.not_valid_after_utc


def test_every_way_to_give_a_chain() -> None:
    pem: list[str] = FILE["chain"]
    der = [x509.load_pem_x509_certificate(text.encode()).public_bytes(Encoding.DER) for text in pem]
    text = "".join(pem)
    for chain in (text, text.encode(), der, [pem[0].encode(), der[1], pem[2]]):
        assert run({}, chain) == run({})


async def test_asynchronously() -> None:
    collateral = fixed_collateral({}, FILE)
    assert collateral is not None
    verifier = verifier_of({}, FILE, collateral)
    assert await verify_certificate_async(verifier, FILE["chain"], root_of({})) == run({})


@pytest.mark.parametrize("case", GOOD, ids=named(GOOD))
def test_good(case: dict[str, Any]) -> None:
    verified = run(case)
    assert verified.issued_by_root == (root_of(case) is not None)


@pytest.mark.parametrize("case", BAD, ids=named(BAD))
def test_bad(case: dict[str, Any]) -> None:
    with pytest.raises(VerificationError) as caught:
        run(case)
    assert caught.value.code in allowed_codes(case), caught.value
