"""Real and broken quotes, under Intel's root."""

from __future__ import annotations

import pytest

from bylaw_sdk import Collateral, InputError, Trust, VerificationError, quote

from .vectors import ROOT

TDX = ROOT / "attest" / "tdx"
IN_TIME = 1_750_414_563
"""Within the validity of the sample collateral."""


def sample(name: str = "dcapqvl-v4") -> tuple[bytes, Collateral]:
    folder = TDX / name
    collateral = Collateral.from_json((folder / "collateral.json").read_text())
    return (folder / "quote.bin").read_bytes(), collateral


def code_of(data: bytes, collateral: Collateral, now: int, trust: Trust | None = None) -> str:
    with pytest.raises(VerificationError) as caught:
        quote.verify_quote(data, trust or Trust.intel(), collateral, now)
    return caught.value.code


def test_a_real_quote_verifies_under_intels_root() -> None:
    td = quote.verify_quote(*reordered(sample()), IN_TIME)
    assert td.tcb_status == "UpToDate"
    assert td.advisory_ids == ()
    assert td.mrtd.hex().startswith("91eb2b44d141d4ec")
    assert (len(td.report_data), len(td.rtmr3), len(td.device_id)) == (64, 48, 32)


def reordered(pair: tuple[bytes, Collateral]) -> tuple[bytes, Trust, Collateral]:
    return pair[0], Trust.intel(), pair[1]


@pytest.mark.parametrize("now", [1_753_006_563, 1_780_000_000, 1_740_000_000, 0])
def test_collateral_counts_only_in_its_time(now: int) -> None:
    assert code_of(*sample(), now) == "collateral"


def test_a_platform_below_every_known_level_is_refused() -> None:
    data, collateral = sample("dcapqvl-outdated")
    for now in range(1_700_000_000, 1_800_000_000, 1_000_000):
        with pytest.raises(VerificationError):
            quote.verify_quote(data, Trust.intel(), collateral, now)


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("sig-bitflip", ["quote"]),
        ("report-data-bitflip", ["quote"]),
        ("mrtd-bitflip", ["quote"]),
        ("qe-report-bitflip", ["quote"]),
        ("ak-swapped", ["quote"]),
        ("debug-set", ["quote", "debug"]),
        ("truncated", ["quote"]),
        ("version-6", ["quote"]),
        ("siglen-huge", ["quote"]),
        ("empty", ["quote"]),
    ],
)
def test_broken_quotes(name: str, codes: list[str]) -> None:
    data = (TDX / "broken" / f"{name}.bin").read_bytes()
    assert code_of(data, sample()[1], IN_TIME) in codes


@pytest.mark.parametrize("name", ["nextupdate-edited", "tcb-sig-zero"])
def test_tampered_collateral(name: str) -> None:
    text = (TDX / "broken" / f"collateral-{name}.json").read_text()
    assert code_of(sample()[0], Collateral.from_json(text), IN_TIME) == "collateral"


def test_collateral_without_a_crl() -> None:
    text = (TDX / "broken" / "collateral-no-crl.json").read_text()
    try:
        collateral = Collateral.from_json(text)
    except InputError:
        return
    assert code_of(sample()[0], collateral, IN_TIME) == "collateral"


def test_collateral_of_another_platform() -> None:
    data = (TDX / "trustee-v4" / "quote.bin").read_bytes()
    assert code_of(data, sample()[1], IN_TIME) == "collateral"


def test_another_root() -> None:
    trust = Trust.root((ROOT / "attest" / "AWS_NitroEnclaves_Root-G1.pem").read_bytes())
    assert code_of(*sample(), IN_TIME, trust) in ("collateral", "chain", "quote")


def test_every_bit_that_is_signed_counts() -> None:
    data, collateral = sample()
    # Header, report, signature and key; what follows is certificates.
    for position in range(0, 760, 7):
        changed = bytearray(data)
        changed[position] ^= 0x10
        with pytest.raises(VerificationError):
            quote.verify_quote(bytes(changed), Trust.intel(), collateral, IN_TIME)


def test_which_collateral_a_quote_needs() -> None:
    key = quote.collateral_key(sample()[0])
    assert key == quote.CollateralKey("b0c06f000000", "platform")
    for wrong in (b"", bytes(100), bytes(quote.MAX_QUOTE_BYTES + 1), sample()[0][:700]):
        with pytest.raises(VerificationError):
            quote.collateral_key(wrong)


@pytest.mark.parametrize("certificate", [b"", b"-----BEGIN X", b"\x30\x00", "text"])
def test_a_root_must_be_a_certificate(certificate: bytes | str) -> None:
    with pytest.raises(InputError, match="not exactly one"):
        Trust.root(certificate)


def test_a_root_is_one_certificate() -> None:
    pem = (ROOT / "attest" / "AWS_NitroEnclaves_Root-G1.pem").read_bytes()
    root = Trust.root(pem)
    assert root.root_der is not None
    assert Trust.root(root.root_der) == root
    for wrong in (pem + pem, root.root_der + b"\0"):
        with pytest.raises(InputError):
            Trust.root(wrong)
