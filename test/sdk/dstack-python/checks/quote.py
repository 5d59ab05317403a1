"""Where a TDX v4 quote keeps what these checks read."""

from dataclasses import dataclass

from .system import check

# Version 4, ECDSA P-256, TEE type TDX: how every quote of this kind starts.
HEADER = bytes.fromhex("0400020081000000")


@dataclass(frozen=True)
class Quote:
    """Registers and report data of a quote."""

    mrtd: bytes
    config: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes


def parse(raw: bytes) -> Quote:
    """The TD report inside a quote."""
    check(raw.startswith(HEADER), f"the quote is TDX version 4, not {raw[:8].hex()}")
    check(len(raw) > 632, f"the quote is whole: {len(raw)} bytes")
    return Quote(
        mrtd=raw[184:232],
        config=raw[232:376],
        rtmrs=tuple(raw[376 + 48 * i : 424 + 48 * i] for i in range(4)),
        report_data=raw[568:632],
    )


def within(evidence: bytes) -> Quote:
    """The quote inside a versioned attestation of the first form (SCALE)."""
    check(evidence[:2] == b"\0\0", "the attestation is version 0, TDX")
    start = evidence.find(HEADER)
    check(2 < start <= 6, "the attestation starts with the quote")
    return parse(evidence[start:])
