"""Bytes given as ``bytes`` or as hexadecimal text."""

from __future__ import annotations

import re

from .errors import InputError

HexOrBytes = bytes | str
"""Bytes, or hexadecimal text with or without ``0x``."""

_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")


def from_hex(text: str) -> bytes | None:
    """Decodes plain hexadecimal; ``None`` when it is not (spaces are not accepted)."""
    return bytes.fromhex(text) if _HEX.fullmatch(text) else None


def to_bytes(name: str, value: HexOrBytes, length: int | None = None) -> bytes:
    """Normalises an argument called ``name``; ``length`` in bytes when it is fixed."""
    if isinstance(value, str):
        decoded = from_hex(value.removeprefix("0x"))
        if decoded is None:
            raise InputError(f"{name} is not hexadecimal")
        value = decoded
    elif not isinstance(value, (bytes, bytearray, memoryview)):
        raise InputError(f"{name} must be bytes or hexadecimal text, not {type(value).__name__}")
    value = bytes(value)
    if length is not None and len(value) != length:
        raise InputError(f"{name} has {len(value)} bytes, not {length}")
    return value
