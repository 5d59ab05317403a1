"""TLS connections to peers that prove nothing."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from bylaw_sdk import (
    Expect,
    TransportError,
    VerificationError,
    Verifier,
    attested_context,
    connect_attested,
    peer_chain,
)

from .replay import fixed_collateral, verifier_of
from .vectors import load

FILE = load("certificate")


def certificate(name: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


@contextlib.contextmanager
def tls_server(folder: Path, chain: list[bytes], key: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Serves one connection; yields its port and what it received."""
    (folder / "chain.pem").write_bytes(b"".join(chain))
    (folder / "key.pem").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    listener = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []

    def accept() -> None:
        raw, _ = listener.accept()
        raw.settimeout(5)
        with raw, contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True) as peer:
            while chunk := peer.recv(1024):
                received.append(chunk)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield listener.getsockname()[1], received
    finally:
        thread.join()
        listener.close()


@pytest.fixture
def chain() -> tuple[list[bytes], bytes]:
    """Two certificates without evidence, PEM, and the key of the first."""
    key, issuer = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    leaf = certificate("leaf", "ca", key).sign(issuer, hashes.SHA256())
    authority = certificate("ca", "ca", issuer).sign(issuer, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return [entry.public_bytes(Encoding.PEM) for entry in (leaf, authority)], pem


def verifier() -> Verifier:
    collateral = fixed_collateral({}, FILE)
    assert collateral is not None
    return verifier_of({"time": int(time.time())}, FILE, collateral)


def test_a_peer_without_evidence_gets_nothing(
    tmp_path: Path, chain: tuple[list[bytes], bytes]
) -> None:
    with tls_server(tmp_path, *chain) as (port, received):
        with pytest.raises(VerificationError) as caught:
            connect_attested("127.0.0.1", port, verifier(), None, Expect(app_id=bytes(20)))
    assert caught.value.code == "encoding"
    assert received == []


def test_the_whole_chain_is_seen(tmp_path: Path, chain: tuple[list[bytes], bytes]) -> None:
    expected = [ssl.PEM_cert_to_DER_cert(pem.decode()) for pem in chain[0]]
    with tls_server(tmp_path, *chain) as (port, received):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            with attested_context().wrap_socket(raw, server_hostname="name") as connection:
                assert peer_chain(connection) == expected
                connection.sendall(b"after")
    assert received == [b"after"]


def test_the_whole_chain_is_seen_in_memory(
    tmp_path: Path, chain: tuple[list[bytes], bytes]
) -> None:
    """What asyncio has is an SSLObject."""
    (tmp_path / "chain.pem").write_bytes(b"".join(chain[0]))
    (tmp_path / "key.pem").write_bytes(chain[1])
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = attested_context().wrap_bio(to_client, to_server, server_hostname="name")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    expected = [ssl.PEM_cert_to_DER_cert(pem.decode()) for pem in chain[0]]
    assert peer_chain(client) == expected
    with pytest.raises(VerificationError, match="no certificate"):
        peer_chain(server)


def test_nobody_there() -> None:
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:1"):
        connect_attested("127.0.0.1", 1, verifier(), None)


def test_a_peer_that_speaks_no_tls() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(b"SSH-2.0-server\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(TransportError, match="TLS"):
        connect_attested("127.0.0.1", listener.getsockname()[1], verifier(), None)
    thread.join()
    listener.close()
