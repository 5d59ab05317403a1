"""Which root of TDX platforms is trusted."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from .errors import InputError


@dataclass(frozen=True)
class Trust:
    """Intel's root, or one that is given, for development.

    Attributes:
        root_der: ``None`` for Intel's SGX Root CA.
    """

    root_der: bytes | None = None

    @classmethod
    def intel(cls) -> Trust:
        """Intel's SGX Root CA, built into the quote verifier."""
        return cls()

    @classmethod
    def root(cls, certificate: bytes | str) -> Trust:
        """One root certificate, PEM or DER, in place of Intel's.

        Whoever holds its key can make any evidence: never use a development root where
        secrets are real.

        Raises:
            InputError: it is not exactly one certificate.
        """
        data = certificate.encode() if isinstance(certificate, str) else bytes(certificate)
        try:
            if data.lstrip().startswith(b"-----"):
                (parsed,) = x509.load_pem_x509_certificates(data)
            else:
                parsed = x509.load_der_x509_certificate(data)
            der = parsed.public_bytes(Encoding.DER)
        except ValueError as error:
            raise InputError(
                f"the root is not exactly one X.509 certificate in PEM or DER: {error}"
            ) from None
        return cls(der)
