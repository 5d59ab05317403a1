"""TLS connections to attested guests."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from .appraisal import Expect
from .certificate import VerifiedCertificate, verify_certificate
from .errors import InputError, TransportError, VerificationError
from .key_chain import KmsRoot
from .verifier import Verifier

TlsConnection = ssl.SSLSocket | ssl.SSLObject


def attested_context() -> ssl.SSLContext:
    """A client context that proves the peer holds its certificate's key, and no more.

    It checks neither names nor issuers: call :func:`verify_tls_peer` right after the
    handshake, before anything is sent.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session shows no certificate.
    context.options |= ssl.OP_NO_TICKET
    return context


def peer_chain(connection: TlsConnection) -> list[bytes]:
    """The certificates that the peer sent, DER, leaf first."""
    leaf = connection.getpeercert(binary_form=True)
    if leaf is None:
        raise VerificationError("chain", "the peer sent no certificate")
    # Public from Python 3.13 on; before, only the object underneath has it.
    source: Any = connection
    if not hasattr(source, "get_unverified_chain"):
        source = getattr(connection, "_sslobj", None)
    if not hasattr(source, "get_unverified_chain"):
        raise InputError(
            "this Python does not show the peer's chain; give it to verify_certificate"
        )
    chain = [
        entry if isinstance(entry, bytes) else ssl.PEM_cert_to_DER_cert(entry.public_bytes())
        for entry in source.get_unverified_chain() or ()
    ]
    if not chain or chain[0] != leaf:
        raise VerificationError("chain", "the peer's chain does not begin with its certificate")
    return chain


def verify_tls_peer(
    connection: TlsConnection,
    verifier: Verifier,
    root: KmsRoot | None,
    expect: Expect | None = None,
) -> VerifiedCertificate:
    """Verifies who is on the other side of a finished handshake.

    Close the connection if it raises. Use it for servers and, where the server's context
    asks for certificates, for clients.

    Raises:
        VerificationError: ``code`` names the rule that failed.
    """
    return verify_certificate(verifier, peer_chain(connection), root, expect)


def connect_attested(
    host: str,
    port: int,
    verifier: Verifier,
    root: KmsRoot | None,
    expect: Expect | None = None,
    *,
    timeout: float = 10.0,
    context: ssl.SSLContext | None = None,
) -> tuple[ssl.SSLSocket, VerifiedCertificate]:
    """Connects, verifies the server, and only then hands the connection out.

    The guest's identity takes the place of the host name, which is sent (SNI) but not
    compared. Without ``expect.app_id`` *any* attested guest passes.

    Args:
        context: from :func:`attested_context`, with your client certificate loaded if
            the server asks for one.

    Raises:
        VerificationError: ``code`` names the rule that failed; nothing was sent.
        TransportError: no connection, or no TLS.
    """
    context = context or attested_context()
    try:
        raw = socket.create_connection((host, port), timeout=timeout)
    except OSError as error:
        raise TransportError(f"{host}:{port}: {error}") from None
    try:
        connection = context.wrap_socket(raw, server_hostname=host)
    except (OSError, ValueError) as error:
        raw.close()
        raise TransportError(f"{host}:{port}: TLS: {error}") from None
    try:
        return connection, verify_tls_peer(connection, verifier, root, expect)
    except BaseException:
        connection.close()
        raise
