"""From an app's certificate to the root CA of its KMS."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
)
from cryptography.x509.verification import VerificationError as ChainError

from .errors import VerificationError


def verify_issuers(
    certificates: Sequence[x509.Certificate], ca_spki: bytes, now: datetime.datetime
) -> x509.Certificate:
    """Verifies leaf, app CA and root CA: signatures, names, validity, that both CAs are
    CAs, that their path lengths allow it, and that the root's key is ``ca_spki``.

    Returns:
        The app CA.

    Raises:
        VerificationError: code ``chain``.
    """
    if len(certificates) != 3:
        raise _refused(f"there are {len(certificates)}, not three: leaf, app CA and KMS root CA")
    leaf, app_ca, root_ca = certificates
    try:
        root_spki = root_ca.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
    except Exception:  # noqa: BLE001 - unknown algorithms and bad points differ in type
        raise _refused("the root CA's key cannot be read") from None
    if root_spki != ca_spki:
        raise _refused("the root CA's key is not the KMS's: another KMS issued it")
    try:
        builder = PolicyBuilder().store(Store([root_ca])).time(now.replace(tzinfo=None))
        # One intermediate, the app CA.
        builder = builder.max_chain_depth(1).extension_policies(
            ca_policy=_authority_policy(), ee_policy=ExtensionPolicy.permit_all()
        )
        verified = builder.build_client_verifier().verify(leaf, [app_ca])
        # A self-signed root must not only look like one.
        root_ca.verify_directly_issued_by(root_ca)
    except ChainError as error:
        raise _refused(str(error)) from None
    except Exception as error:  # noqa: BLE001 - bad signatures and odd keys differ in type
        raise _refused(str(error) or type(error).__name__) from None
    if list(verified.chain) != [leaf, app_ca, root_ca]:
        raise _refused("it does not lead through the app CA to the root CA")
    return app_ca


def _authority_policy() -> ExtensionPolicy:
    policy = ExtensionPolicy.permit_all()
    policy = policy.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)
    return policy.require_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)


def _is_authority(
    _policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints
) -> None:
    if not constraints.ca:
        raise ValueError("an issuer is not a CA")


def _may_sign(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage) -> None:
    if not usage.key_cert_sign:
        raise ValueError("an issuer's key may not sign certificates")


def _refused(reason: str) -> VerificationError:
    return VerificationError("chain", f"certificate chain: {reason}")
