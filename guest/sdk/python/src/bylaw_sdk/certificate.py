"""Certificates that carry evidence for their key (RA-TLS)."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .appraisal import Appraisal, Expect, check_key_provider
from .certificate_chain import verify_issuers
from .encoding import TdxEvidence, decode_attestation, from_quote
from .errors import VerificationError
from .key_chain import KmsRoot
from .verifier import Verifier

CertificateChain = str | bytes | Sequence[str | bytes]
"""PEM text with all certificates, or a list of PEM or DER certificates; leaf first."""

MAX_CERTIFICATE_BYTES = 16 * 1024 * 1024
"""Longest certificate that is read; evidence in it may have 10 MiB."""
MAX_CERTIFICATES = 10
"""Longest chain that is read."""

_ARC = "1.3.6.1.4.1.62397.1"
OID_QUOTE = x509.ObjectIdentifier(_ARC + ".1")
OID_EVENT_LOG = x509.ObjectIdentifier(_ARC + ".2")
OID_APP_ID = x509.ObjectIdentifier(_ARC + ".3")
OID_USAGE = x509.ObjectIdentifier(_ARC + ".4")
OID_ATTESTATION = x509.ObjectIdentifier(_ARC + ".8")

USAGE_APP_CA = "app:ca"
"""Usage of the CA that a KMS has for each app."""


@dataclass(frozen=True)
class VerifiedCertificate:
    """A certificate whose key belongs to an attested guest.

    Attributes:
        appraisal: what its evidence established.
        spki: DER SubjectPublicKeyInfo of its key: compare it with the peer's.
        subject: common name; worth what its issuer's word is worth.
        alt_names: DNS names and IP addresses that it is for.
        not_before, not_after: its validity.
        usage: special usage, e.g. ``app:custom``.
        issued_by_root: whether the chain to the KMS root was verified.
    """

    appraisal: Appraisal
    spki: bytes
    subject: str | None
    alt_names: tuple[str, ...]
    not_before: datetime.datetime
    not_after: datetime.datetime
    usage: str | None
    issued_by_root: bool


def verify_certificate(
    verifier: Verifier,
    chain: CertificateChain,
    root: KmsRoot | None,
    expect: Expect | None = None,
) -> VerifiedCertificate:
    """Verifies the evidence in a certificate, that it was made for the certificate's key
    and, given a root, that a KMS issued the certificate to the app that was measured.

    Args:
        chain: leaf first; with a root it is leaf, app CA and KMS root CA.
        root: the KMS root; ``None`` relies on the evidence alone.
        expect: what else the guest must be. Its challenge can be left out: the evidence
            must have been made for the certificate's key anyway.

    Raises:
        VerificationError: ``code`` names the rule that failed.
    """
    expect = expect or Expect()
    certificates = _parse_chain(chain)
    leaf, extensions = certificates[0], _Extensions(certificates[0])
    now = datetime.datetime.fromtimestamp(verifier.now(), datetime.timezone.utc)
    _check_validity(leaf, now)
    spki = _spki(leaf)
    evidence = extensions.evidence()
    app_id, usage = extensions.app_id(), extensions.usage()
    if root is not None:
        app_ca = verify_issuers(certificates, root.ca_spki, now)
        issuer = _Extensions(app_ca)
        if issuer.usage() != USAGE_APP_CA:
            raise _chain(f"the issuer's usage is {issuer.usage()!r}, not {USAGE_APP_CA!r}")
    for_its_key = dataclasses.replace(expect, report_data=None, tls_key=spki)
    appraisal = verifier.verify_parsed(evidence, for_its_key)
    if expect.has_challenge() and expect.challenge() != appraisal.report_data:
        raise VerificationError(
            "report_data_mismatch", "the evidence is for the certificate's key, not as expected"
        )
    _check_app_id("the certificate", app_id, appraisal)
    if root is not None:
        _check_app_id("the app CA", issuer.app_id(), appraisal)
        check_key_provider(appraisal, root.ca_spki)
    return VerifiedCertificate(
        appraisal=appraisal,
        spki=spki,
        subject=_common_name(leaf),
        alt_names=extensions.alt_names(),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        usage=usage,
        issued_by_root=root is not None,
    )


async def verify_certificate_async(
    verifier: Verifier,
    chain: CertificateChain,
    root: KmsRoot | None,
    expect: Expect | None = None,
) -> VerifiedCertificate:
    """As :func:`verify_certificate`, without blocking the event loop."""
    return await asyncio.to_thread(verify_certificate, verifier, chain, root, expect)


class _Extensions:
    """The extensions of one certificate; one that appears twice is an error."""

    def __init__(self, certificate: x509.Certificate) -> None:
        try:
            self._all = certificate.extensions
        except x509.DuplicateExtension as error:
            raise _malformed(f"extension {error.oid.dotted_string} appears twice") from None
        except Exception as error:  # noqa: BLE001 - what the library makes of odd ones varies
            raise _malformed(f"its extensions cannot be read: {error}") from None

    def content(self, oid: x509.ObjectIdentifier) -> bytes | None:
        """What the OCTET STRING inside the extension's value holds."""
        try:
            extension = self._all.get_extension_for_oid(oid)
        except x509.ExtensionNotFound:
            return None
        if not isinstance(extension.value, x509.UnrecognizedExtension):
            raise _malformed(f"extension {oid.dotted_string} is of another kind")
        try:
            return asn1.decode_der(bytes, extension.value.value)
        except ValueError:
            raise _malformed(f"extension {oid.dotted_string} is not an OCTET STRING") from None

    def app_id(self) -> bytes | None:
        """The app it was issued to."""
        app_id = self.content(OID_APP_ID)
        if app_id is not None and len(app_id) != 20:
            raise _malformed(f"its app id has {len(app_id)} bytes, not 20")
        return app_id

    def usage(self) -> str | None:
        """Its special usage."""
        usage = self.content(OID_USAGE)
        return None if usage is None else _utf8(usage, OID_USAGE)

    def evidence(self) -> TdxEvidence:
        """The current form, else quote and event log of older guests."""
        attestation = self.content(OID_ATTESTATION)
        quote, log = self.content(OID_QUOTE), self.content(OID_EVENT_LOG)
        if attestation is not None:
            return decode_attestation(attestation)
        if quote is None:
            raise _malformed("it carries no evidence")
        return from_quote(quote, "" if log is None else _utf8(log, OID_EVENT_LOG))

    def alt_names(self) -> tuple[str, ...]:
        """DNS names and IP addresses."""
        try:
            names = self._all.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ()
        return (
            *names.get_values_for_type(x509.DNSName),
            *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        )


def _parse_chain(chain: CertificateChain) -> list[x509.Certificate]:
    parts = [chain] if isinstance(chain, (str, bytes)) else list(chain)
    certificates: list[x509.Certificate] = []
    for part in parts:
        data = part.encode() if isinstance(part, str) else bytes(part)
        if len(data) > MAX_CERTIFICATE_BYTES:
            raise _malformed(f"a certificate has {len(data)} bytes, too many")
        try:
            if data.lstrip().startswith(b"-----"):
                certificates += x509.load_pem_x509_certificates(data)
            else:
                certificates.append(x509.load_der_x509_certificate(data))
        except Exception as error:  # noqa: BLE001 - what the library makes of odd ones varies
            raise _malformed(f"not an X.509 certificate in PEM or DER: {error}") from None
    if not certificates:
        raise _malformed("there is no certificate")
    if len(certificates) > MAX_CERTIFICATES:
        raise _chain(f"{len(certificates)} certificates; the limit is {MAX_CERTIFICATES}")
    return certificates


def _check_validity(leaf: x509.Certificate, now: datetime.datetime) -> None:
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise _chain(
            f"the certificate is valid from {leaf.not_valid_before_utc:%Y-%m-%d} to "
            f"{leaf.not_valid_after_utc:%Y-%m-%d}, not at {now:%Y-%m-%d %H:%M:%S} UTC"
        )


def _check_app_id(whose: str, stated: bytes | None, appraisal: Appraisal) -> None:
    if stated is not None and stated != appraisal.app_id:
        raise VerificationError(
            "app_id",
            f"{whose} is for app {stated.hex()}, but {appraisal.app_id.hex()} was measured",
        )


def _spki(certificate: x509.Certificate) -> bytes:
    try:
        key = certificate.public_key()
    except Exception as error:  # noqa: BLE001 - unknown algorithms and bad points differ in type
        raise _malformed(f"its public key cannot be read: {error}") from None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _common_name(certificate: x509.Certificate) -> str | None:
    try:
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except (ValueError, Warning):
        # A name against the rules is no name; who it is, the evidence says.
        return None
    value = names[0].value if names else None
    return value if isinstance(value, str) else None


def _utf8(content: bytes, oid: x509.ObjectIdentifier) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed(f"extension {oid.dotted_string} is not UTF-8") from None


def _malformed(reason: str) -> VerificationError:
    return VerificationError("encoding", f"certificate: {reason}")


def _chain(reason: str) -> VerificationError:
    return VerificationError("chain", f"certificate: {reason}")
