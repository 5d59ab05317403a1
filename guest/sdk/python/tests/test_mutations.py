"""Whatever arrives, only errors of this package come out."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bylaw_sdk import KmsRoot, VerificationError, Verifier, verify_certificate

from .replay import expect_of, fixed_collateral, verifier_of
from .vectors import load

EVIDENCE, CERTIFICATE = load("evidence"), load("certificate")
ROUNDS = 400


def mutated(data: bytes, seed: int) -> Iterator[bytes]:
    """The same mutations each time."""
    source = random.Random(seed)
    for _ in range(ROUNDS):
        changed = bytearray(data)
        for _ in range(source.choice((1, 1, 2, 8))):
            position = source.randrange(len(changed))
            match source.randrange(4):
                case 0:
                    changed[position] ^= 1 << source.randrange(8)
                case 1:
                    changed[position] = source.choice((0, 1, 0x7F, 0x80, 0xFF))
                case 2:
                    del changed[position : position + source.randrange(1, 40)]
                case _:
                    changed[position:position] = source.randbytes(source.randrange(1, 40))
        if changed != data:
            yield bytes(changed)


def verifier(file: dict[str, object]) -> Verifier:
    collateral = fixed_collateral({}, file)
    assert collateral is not None
    return verifier_of({}, file, collateral)


@pytest.mark.parametrize("form", ["attestation_v0", "attestation_v1"])
def test_evidence(form: str) -> None:
    refused = 0
    expect = expect_of(EVIDENCE["expect"])
    for data in mutated(bytes.fromhex(EVIDENCE[form]), 1):
        try:
            appraisal = verifier(EVIDENCE).verify_evidence(data, expect)
        except VerificationError:
            refused += 1
        else:
            # Nothing that is believed was touched.
            assert appraisal.rtmr3.hex() == EVIDENCE["appraisal"]["rtmr3"]
            assert appraisal.app_id.hex() == EVIDENCE["appraisal"]["app_id"]
    assert refused > ROUNDS // 3


@pytest.mark.parametrize("rooted", [True, False])
def test_leaves(rooted: bool) -> None:
    ders = [
        x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
        for pem in CERTIFICATE["chain"]
    ]
    root = KmsRoot(b"", bytes.fromhex(CERTIFICATE["kms_ca_spki"])) if rooted else None
    accepted = 0
    for data in mutated(ders[0], 2):
        try:
            verify_certificate(verifier(CERTIFICATE), [data, *ders[1:]], root)
            accepted += 1
        except VerificationError:
            pass
    # Every bit of the leaf is under its issuer's signature, if that is asked for.
    assert accepted == 0 if rooted else accepted < ROUNDS // 2


def test_issuers() -> None:
    ders = [
        x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
        for pem in CERTIFICATE["chain"]
    ]
    root = KmsRoot(b"", bytes.fromhex(CERTIFICATE["kms_ca_spki"]))
    for position in (1, 2):
        for data in mutated(ders[position], 3):
            chain = list(ders)
            chain[position] = data
            with pytest.raises(VerificationError):
                verify_certificate(verifier(CERTIFICATE), chain, root)
