"""Keys derived for the app, and the signatures that lead to the KMS."""

import hashlib

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_keys import keys
from eth_utils import keccak

from .system import System, check, equal, refused

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def recovered(message: bytes, signature: bytes) -> bytes:
    """The compressed key that made a signature over Keccak-256."""
    signer = keys.Signature(signature).recover_public_key_from_msg_hash(keccak(message))
    return signer.to_compressed_bytes()


def public_key(secret: bytes, algorithm: str) -> bytes:
    """The public half of a 32-byte secret."""
    if algorithm == "ed25519":
        private = ed25519.Ed25519PrivateKey.from_private_bytes(secret)
        return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return keys.PrivateKey(secret).public_key.to_compressed_bytes()


def leads_to_root(
    system: System, purpose: str, key: bytes, chain: list[bytes]
) -> bytes:
    """Follow key -> app key -> KMS root; answers the app key."""
    equal([len(link) for link in chain], [65, 65], "lengths of a key's signatures")
    app_key = recovered(f"{purpose}:{key.hex()}".encode(), chain[0])
    issued = b"dstack-kms-issued:" + system.app_id + app_key
    equal(recovered(issued, chain[1]), system.root_k256, "the app key's signer")
    return app_key


async def derived(client, system: System) -> None:
    """GetKey: every algorithm, stable, distinct, certified by the KMS."""
    app_keys = set()
    for algorithm in ("", "secp256k1", "k256", "ed25519"):
        for path, purpose in (("wallet", "test"), ("", ""), ("a/b", "ключ")):
            key = await client.get_key(path, purpose, algorithm)
            secret = key.decode_key()
            equal(len(secret), 32, "bytes in a key")
            chain = key.decode_signature_chain()
            public = public_key(secret, algorithm)
            app_keys.add(leads_to_root(system, purpose, public, chain))
    equal(len(app_keys), 1, "app keys behind all derived keys")

    first = await client.get_key("wallet", "test")
    same = await client.get_key("wallet", "test")
    equal(same.key, first.key, "the key of one path asked twice")
    # The derivation takes the path alone: dstack promises it to its users.
    renamed = await client.get_key("wallet", "another purpose", "ed25519")
    equal(renamed.key, first.key, "the key of one path under another purpose")
    secrets = {(await client.get_key(path)).key for path in ("", "w", "wallet", "wx")}
    equal(len(secrets), 4, "distinct keys of four paths")
    default = await client.get_key()
    leads_to_root(
        system,
        "",
        public_key(default.decode_key(), "secp256k1"),
        default.decode_signature_chain(),
    )
    for algorithm in ("rsa", "secp256k1_prehashed", "SECP256K1"):
        await refused(
            client.get_key("wallet", "test", algorithm),
            f"GetKey with {algorithm}",
            saying="Unsupported algorithm",
            by=httpx.HTTPStatusError,
        )


def _verify(algorithm: str, key: bytes, data: bytes, signature: bytes) -> None:
    """Check a Sign answer without the agent."""
    equal(len(signature), 64, f"bytes in an {algorithm} signature")
    if algorithm == "ed25519":
        ed25519.Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
        return
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    check(s <= CURVE_ORDER // 2, f"{algorithm} signatures have a low s")
    prehashed = algorithm == "secp256k1_prehashed"
    digest = Prehashed(hashes.SHA256()) if prehashed else hashes.SHA256()
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), key)
    point.verify(encode_dss_signature(r, s), data, ec.ECDSA(digest))


async def signing(client, system: System) -> None:
    """Sign and Verify: every algorithm, honest and changed inputs."""
    message = "a message to sign, ключ".encode()
    digest = hashlib.sha256(b"something hashed before").digest()
    cases = [
        ("ed25519", message),
        ("ed25519", b""),
        ("secp256k1", message),
        ("k256", message),
        ("secp256k1_prehashed", digest),
    ]
    for algorithm, data in cases:
        answer = await client.sign(algorithm, data)
        signature, public = answer.decode_signature(), answer.decode_public_key()
        try:
            _verify(algorithm, public, data, signature)
        except InvalidSignature:
            check(False, f"the {algorithm} signature verifies under its public_key")
        again = await client.sign(algorithm, data)
        equal(again.signature, answer.signature, f"{algorithm} signed twice")

        chain = answer.decode_signature_chain()
        equal(chain[0], signature, "the first link of a signature's chain")
        leads_to_root(system, "signing", public, chain[1:])
        family = "ed25519" if algorithm == "ed25519" else "secp256k1"
        key = await client.get_key("vms", "signing", family)
        equal(public, public_key(key.decode_key(), family), "the signing key")

        changed = bytes([(data or b"\0")[0] ^ 1]) + data[1:]
        spoiled = signature[:-1] + bytes([signature[-1] ^ 1])
        stranger = public_key(hashlib.sha256(b"a stranger").digest(), family)
        for inputs, valid in (
            ((data, signature, public), True),
            ((changed, signature, public), False),
            ((data, spoiled, public), False),
            ((data, signature, stranger), False),
        ):
            verdict = await client.verify(algorithm, *inputs)
            equal(verdict.valid, valid, f"Verify of {algorithm} over {inputs[0]!r}")
        for inputs in ((data, signature, public[:-1]), (data, signature[:-1], public)):
            await refused(
                client.verify(algorithm, *inputs),
                f"Verify of {algorithm} with a cut input",
                saying="400",
                by=httpx.HTTPStatusError,
            )
    for algorithm in ("", "rsa"):
        await refused(
            client.sign(algorithm, message),
            f"Sign with {algorithm!r}",
            saying="Unsupported algorithm",
            by=httpx.HTTPStatusError,
        )
        await refused(
            client.verify(algorithm, message, bytes(64), bytes(33)),
            f"Verify with {algorithm!r}",
            saying="Unsupported algorithm",
            by=httpx.HTTPStatusError,
        )
    await refused(
        client.sign("secp256k1_prehashed", b"short"),
        "a digest of 5 bytes, asked through the SDK",
        saying="32-byte digest",
        by=ValueError,
    )
