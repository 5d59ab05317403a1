"""TLS keys: the certificates of the app, up to the root CA of the KMS."""

import hashlib
import ipaddress
import time
from datetime import UTC, datetime

import httpx
import msgpack
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

from . import quote as tdx
from .system import System, check, equal, refused

ARC = "1.3.6.1.4.1.62397.1"
APP_ID, SPECIAL_USAGE, ATTESTATION, APP_INFO = (f"{ARC}.{n}" for n in (3, 4, 8, 9))
# A PKCS#8 P-256 key up to its scalar. Account helpers cut this encoding by
# length, so another encoding of the same key would change people's accounts.
PKCS8 = bytes.fromhex(
    "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420"
)


def spki(certificate: x509.Certificate) -> bytes:
    """The DER SubjectPublicKeyInfo of a certificate."""
    return certificate.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


def extension(certificate: x509.Certificate, oid: str) -> bytes | None:
    """The content of one of our extensions: an OCTET STRING, as dstack's are."""
    try:
        found = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid))
    except x509.ExtensionNotFound:
        return None
    check(not found.critical, f"extension {oid} is not critical")
    der = found.value.public_bytes()
    check(der[:1] == b"\x04", f"extension {oid} holds an OCTET STRING")
    # Short form, or long form with so many bytes of length.
    header = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    return der[header:]


def chained(system: System, pems: list[str]) -> x509.Certificate:
    """Check a chain from leaf to the root the contract names; answers the leaf."""
    equal(len(pems), 3, "certificates in a chain")
    leaf, app_ca, root = (x509.load_pem_x509_certificate(p.encode()) for p in pems)
    equal(spki(root), system.ca_spki, "the key of the root CA")
    for issued, issuer in ((leaf, app_ca), (app_ca, root), (root, root)):
        issued.verify_directly_issued_by(issuer)
    now = datetime.now(UTC)
    for certificate in (leaf, app_ca, root):
        check(certificate.not_valid_before_utc < now, "a certificate is valid already")
    for authority in (app_ca, root):
        basic = authority.extensions.get_extension_for_class(x509.BasicConstraints)
        check(basic.value.ca, "an issuer is a CA")
    equal(extension(app_ca, APP_ID), system.app_id, "the app id of the app CA")
    equal(extension(app_ca, SPECIAL_USAGE), b"app:ca", "the usage of the app CA")
    equal(extension(leaf, APP_ID), system.app_id, "the app id of a leaf")
    equal(extension(leaf, SPECIAL_USAGE), b"app:custom", "the usage of a leaf")
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    check(usage.digital_signature and not usage.key_cert_sign, "a leaf signs data only")
    return leaf


def own_key(answer, leaf: x509.Certificate) -> int:
    """The certificate is about the key beside it; answers the key's scalar."""
    check(answer.key.startswith("-----BEGIN PRIVATE KEY-----"), "the key is PKCS#8")
    der = answer.as_uint8array()
    check(der.startswith(PKCS8) and len(der) == 138, "the key's encoding is dstack's")
    key = load_pem_private_key(answer.key.encode(), None)
    check(isinstance(key.curve, ec.SECP256R1), "the key is on P-256")
    public = key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    equal(spki(leaf), public, "the public key of a leaf")
    return key.private_numbers().private_value


def subject(leaf: x509.Certificate) -> list[str]:
    """The common names of a certificate."""
    return [str(n.value) for n in leaf.subject if n.oid == x509.NameOID.COMMON_NAME]


def _usages(leaf: x509.Certificate) -> set:
    try:
        return set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return set()


def alternatives(leaf: x509.Certificate) -> list:
    """The alternative names of a certificate, in order."""
    try:
        kind = x509.SubjectAlternativeName
        return [n.value for n in leaf.extensions.get_extension_for_class(kind).value]
    except x509.ExtensionNotFound:
        return []


def attested(evidence: bytes, leaf: x509.Certificate) -> None:
    """The evidence in a certificate is about the certificate's key."""
    bound = hashlib.sha512(b"ratls-cert:" + spki(leaf)).digest()
    equal(tdx.within(evidence).report_data, bound, "the key the evidence names")


async def issued(client, system: System) -> None:
    """GetTlsKey: fresh keys, names, usages, times, evidence."""
    plain = await client.get_tls_key()
    leaf = chained(system, plain.certificate_chain)
    own_key(plain, leaf)
    equal(_usages(leaf), {Usage.SERVER_AUTH}, "usages the SDK asks for unless told")
    equal(alternatives(leaf), [], "alternative names nobody asked for")
    for oid in (ATTESTATION, APP_INFO):
        equal(extension(leaf, oid), None, f"extension {oid} nobody asked for")

    names = ["z.example", "a.example", "127.0.0.1", "m.example", "::1"]
    scalars = set()
    for server, client_side in (
        (False, False),
        (True, False),
        (False, True),
        (True, True),
    ):
        answer = await client.get_tls_key(
            subject="app.example",
            alt_names=names,
            usage_server_auth=server,
            usage_client_auth=client_side,
        )
        leaf = chained(system, answer.certificate_chain)
        scalars.add(own_key(answer, leaf))
        wanted = {Usage.SERVER_AUTH} if server else set()
        wanted |= {Usage.CLIENT_AUTH} if client_side else set()
        equal(_usages(leaf), wanted, "extended key usages")
        equal(subject(leaf), ["app.example"], "the subject")
        shown = alternatives(leaf)
        texts = [n for n in shown if isinstance(n, str)]
        equal(texts, ["z.example", "a.example", "m.example"], "DNS names in order")
        equal(
            {n for n in shown if not isinstance(n, str)},
            {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")},
            "addresses among the names",
        )
    equal(len(scalars), 4, "distinct keys of four requests")

    answer = await client.get_tls_key(subject="ra", usage_ra_tls=True)
    leaf = chained(system, answer.certificate_chain)
    evidence = extension(leaf, ATTESTATION)
    check(evidence is not None, "a certificate for RA-TLS carries evidence")
    attested(evidence, leaf)
    await _timed(client, system)
    await _described(client, system)


async def _timed(client, system: System) -> None:
    start, end = int(time.time()) - 3600, int(time.time()) + 86400
    answer = await client.get_tls_key(not_before=start, not_after=end)
    leaf = chained(system, answer.certificate_chain)
    equal(int(leaf.not_valid_before_utc.timestamp()), start, "not_before")
    equal(int(leaf.not_valid_after_utc.timestamp()), end, "not_after")
    for times in ((end, start), (end, end)):
        await refused(
            client.get_tls_key(not_before=times[0], not_after=times[1]),
            "a certificate that ends before it starts",
            saying="not_before must be earlier than not_after",
            by=httpx.HTTPStatusError,
        )


async def _described(client, system: System) -> None:
    """`with_app_info` puts a summary of the app into the certificate."""
    answer = await client.get_tls_key(with_app_info=True)
    content = extension(chained(system, answer.certificate_chain), APP_INFO)
    check(content is not None, "a certificate with app info carries it")
    app_id, compose_hash, instance_id, *_ = msgpack.unpackb(content)
    described = await client.info()
    equal(app_id, system.app_id, "the app id in the app info")
    equal(compose_hash.hex(), described.compose_hash, "its compose hash")
    equal(instance_id.hex(), described.instance_id, "its instance id")
    without = await client.get_tls_key(with_app_info=False)
    leaf = chained(system, without.certificate_chain)
    equal(extension(leaf, APP_INFO), None, "app info that was declined")


async def demo(client, system: System) -> None:
    """Info's certificate, which others read to learn about the app."""
    pem = (await client.info()).app_cert
    certificates = x509.load_pem_x509_certificates(pem.encode())
    leaf = chained(
        system, [c.public_bytes(Encoding.PEM).decode() for c in certificates]
    )
    attested(extension(leaf, ATTESTATION) or b"", leaf)
