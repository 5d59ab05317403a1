"""Helpers of the SDK around the agent: environments, hashes, accounts."""

import hashlib
import json
import ssl
import time

import httpx
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dstack_sdk import (
    AppCompose,
    DockerConfig,
    EnvVar,
    encrypt_env_vars,
    encrypt_env_vars_sync,
    get_compose_hash,
    verify_env_encrypt_public_key,
    verify_env_encrypt_public_key_legacy,
)
from dstack_sdk.ethereum import to_account, to_account_secure
from dstack_sdk.solana import to_keypair, to_keypair_secure
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_keys import keys
from eth_utils import keccak

from .certificates import PKCS8, chained, own_key
from .keys import public_key
from .system import System, check, equal


async def environment() -> None:
    """Encrypted environments open with the recipient's secret, in the layout a
    guest reads: ephemeral key, IV, AES-256-GCM under the bare shared secret."""
    secret = x25519.X25519PrivateKey.generate()
    public = secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    variables = [EnvVar("FOO", "bar"), EnvVar("TEXT", 'line\n"ключ"')]
    plain = {"env": [{"key": v.key, "value": v.value} for v in variables]}
    sealed = [
        await encrypt_env_vars(variables, public.hex()),
        encrypt_env_vars_sync(variables, "0x" + public.hex()),
    ]
    for text in sealed:
        blob = bytes.fromhex(text)
        ephemeral = x25519.X25519PublicKey.from_public_bytes(blob[:32])
        cipher = AESGCM(secret.exchange(ephemeral))
        opened = cipher.decrypt(blob[32:44], blob[44:], None)
        equal(json.loads(opened), plain, "the environment, opened")
        try:
            cipher.decrypt(blob[32:44], blob[44:-1] + bytes([blob[-1] ^ 1]), None)
            check(False, "a changed environment does not open")
        except InvalidTag:
            pass
    check(sealed[0][:64] != sealed[1][:64], "each encryption has a key of its own")


def _signed_by(root: keys.PrivateKey, message: bytes) -> bytes:
    return root.sign_msg_hash(keccak(message)).to_bytes()


def env_key_offline() -> None:
    """Signatures over an environment key, made here as a KMS makes them."""
    root = keys.PrivateKey(hashlib.sha256(b"a root key").digest())
    signer = "0x" + root.public_key.to_compressed_bytes().hex()
    app_id, public, now = bytes(range(20)), bytes(range(32)), int(time.time())
    prefix = b"dstack-env-encrypt-pubkey:" + app_id
    legacy = _signed_by(root, prefix + public)
    equal(
        verify_env_encrypt_public_key_legacy(public, legacy, app_id.hex()),
        signer,
        "who signed an environment key, without a time",
    )
    for age, options, accepted in (
        (0, {}, True),
        (299, {}, True),
        (310, {}, False),
        (310, {"max_age_seconds": 400}, True),
        (-90, {}, False),
    ):
        stamp = now - age
        signature = _signed_by(root, prefix + stamp.to_bytes(8, "big") + public)
        found = verify_env_encrypt_public_key(
            public, signature, "0x" + app_id.hex(), stamp, **options
        )
        equal(found, signer if accepted else None, f"an answer {age} s old")
    signature = _signed_by(root, prefix + now.to_bytes(8, "big") + public)
    other = verify_env_encrypt_public_key(public, signature, app_id.hex(), now - 1)
    check(other != signer, "another time is another message")
    cut = verify_env_encrypt_public_key(public, signature[:64], app_id.hex(), now)
    equal(cut, None, "a signature of 64 bytes")


async def env_key_of_kms(client, system: System) -> None:
    """What the KMS itself says, over TLS anchored at the root the chain names."""
    if not system.kms_url:
        print("KMS_URL is not set: the environment key is checked offline only")
        return
    chain = (await client.get_tls_key()).certificate_chain
    chained(system, chain)
    trusted = ssl.create_default_context(cadata=chain[2])
    # Its certificate names a domain, which need not be where this test finds it.
    trusted.check_hostname = False
    async with httpx.AsyncClient(verify=trusted, base_url=system.kms_url) as http:
        path = "/prpc/GetAppEnvEncryptPubKey?json"
        response = await http.post(path, json={"app_id": system.app_id.hex()})
    answer = response.raise_for_status().json()
    public = bytes.fromhex(answer["public_key"])
    stamp, app_id = answer["timestamp"], system.app_id.hex()
    root = "0x" + system.root_k256.hex()
    signature = bytes.fromhex(answer["signature_v1"])
    found = verify_env_encrypt_public_key(public, signature, app_id, stamp)
    equal(found, root, "who signed the environment key")
    found = verify_env_encrypt_public_key(public, signature, "00" * 20, stamp)
    check(found != root, "the environment key is one app's")
    legacy = bytes.fromhex(answer["signature"])
    found = verify_env_encrypt_public_key_legacy(public, legacy, app_id)
    equal(found, root, "who signed the environment key, without a time")


# Canonical forms written out by hand: what the hash must be of.
COMPOSE = (
    '{"allowed_envs":["B","A"],"docker_compose_file":"a<b>&ключ\\n",'
    '"docker_config":{"registry":"r.example","username":"u"},'
    '"manifest_version":2,"name":"x","runner":"docker-compose"}'
)
BASH = '{"bash_script":"true","name":"y","runner":"bash"}'


async def compose_hashes(client) -> None:
    """get_compose_hash: sorted, compact, unescaped; normalised when asked."""
    wanted = hashlib.sha256(COMPOSE.encode()).hexdigest()
    shuffled = dict(reversed(json.loads(COMPOSE).items()))
    equal(get_compose_hash(dict(shuffled)), wanted, "the hash of a shuffled compose")
    typed = AppCompose(
        runner="docker-compose",
        manifest_version=2,
        name="x",
        allowed_envs=["B", "A"],
        docker_compose_file="a<b>&ключ\n",
        docker_config=DockerConfig(registry="r.example", username="u"),
    )
    equal(get_compose_hash(typed), wanted, "the hash of a typed compose")
    noisy = {**json.loads(COMPOSE), "bash_script": "x", "pre_launch_script": ""}
    check(get_compose_hash(dict(noisy)) != wanted, "every field counts")
    equal(get_compose_hash(dict(noisy), normalize=True), wanted, "normalised")
    noisy = {**json.loads(BASH), "docker_compose_file": "x"}
    wanted = hashlib.sha256(BASH.encode()).hexdigest()
    equal(get_compose_hash(noisy, normalize=True), wanted, "bash, normalised")

    text = (await client.info()).tcb_info.app_compose
    compose = json.loads(text)
    canonical = json.dumps(
        compose, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    wanted = hashlib.sha256(canonical.encode()).hexdigest()
    equal(get_compose_hash(compose), wanted, "the hash of the app's own compose")


async def accounts(client) -> None:
    """Ethereum accounts and Solana key pairs are the derived keys."""
    key = await client.get_key("accounts", "test")
    secret = key.decode_key()
    address = keys.PrivateKey(secret).public_key.to_checksum_address()
    message = encode_defunct(text="sign in")
    for helper in (to_account, to_account_secure):
        account = helper(key)
        equal(account.address, address, f"{helper.__name__}'s address")
        signed = account.sign_message(message).signature
        found = Account.recover_message(message, signature=signed)
        equal(found, address, f"who signed with {helper.__name__}")

    key = await client.get_key("accounts", "test", "ed25519")
    public = public_key(key.decode_key(), "ed25519")
    for helper in (to_keypair, to_keypair_secure):
        pair = helper(key)
        equal(bytes(pair.pubkey()), public, f"{helper.__name__}'s key")
        signed = pair.sign_message(b"sign in")
        check(signed.verify(pair.pubkey(), b"sign in"), "its signature verifies")
        check(not signed.verify(pair.pubkey(), b"sign out"), "of that message only")


async def legacy_accounts(client, system: System) -> None:
    """Accounts out of TLS keys, for those who made them so long ago."""
    tls = await client.get_tls_key()
    own_key(tls, chained(system, tls.certificate_chain))
    der = tls.as_uint8array()
    # The first 32 bytes of the encoding: a constant, which is why this way
    # is deprecated, and why the encoding may not change.
    equal(to_account(tls).key, PKCS8[:32], "to_account's secret")
    equal(bytes(to_keypair(tls))[:32], PKCS8[:32], "to_keypair's secret")
    hashed = hashlib.sha256(der).digest()
    equal(to_account_secure(tls).key, hashed, "to_account_secure's secret")
    equal(bytes(to_keypair_secure(tls))[:32], hashed, "to_keypair_secure's secret")
