"""What evidence is made for."""

from __future__ import annotations

import hashlib

from .errors import InputError
from .hexbytes import HexOrBytes, to_bytes


def report_data_for_tls_key(spki_der: bytes) -> bytes:
    """The report data that binds evidence to a TLS key: SHA-512 over ``ratls-cert:`` and
    the key's DER SubjectPublicKeyInfo.
    """
    return tagged(b"ratls-cert", spki_der)


def padded_report_data(data: HexOrBytes) -> bytes:
    """What an agent makes of a ``report_data`` argument: zeros fill it up to 64 bytes."""
    given = to_bytes("report_data", data)
    if len(given) > 64:
        raise InputError(f"report_data has {len(given)} bytes; at most 64 fit")
    return given.ljust(64, b"\0")


def tagged(tag: bytes, content: bytes) -> bytes:
    """SHA-512 over tag, colon and content."""
    return hashlib.sha512(tag + b":" + content).digest()
