#!/usr/bin/env python3
"""Exercises every method and every verification against a running system.

Takes it from the environment, as `bylaw dev` writes it; prints `sdk ok` at the end.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import bylaw_sdk as sdk
from bylaw_sdk import accounts

STEPS: list[tuple[str, Callable[[System], None]]] = []


class Failure(Exception):
    """Something is not as it must be."""


class System:
    """The running system, and what was learned of it."""

    def __init__(self) -> None:
        def need(name: str) -> str:
            value = os.environ.get(name, "")
            if not value:
                raise Failure(f"{name} is not set; source the env file of `bylaw dev`")
            return value

        need("DSTACK_SIMULATOR_ENDPOINT")
        self.client = sdk.Client()
        self.app_id = bytes.fromhex(need("APP_CONTRACT_ADDR").removeprefix("0x"))
        self.rpc_url, self.kms_auth = need("ETH_RPC_URL"), need("KMS_CONTRACT_ADDR")
        self.root = sdk.fetch_kms_root(self.rpc_url, self.kms_auth)
        self.trust = sdk.Trust.root(Path(need("BYLAW_ROOT_CA")).read_bytes())
        self.pccs = sdk.Pccs(need("BYLAW_COLLATERAL"))
        self.verifier = sdk.Verifier(self.trust, sdk.CachedCollateral(self.pccs))


def step(function: Callable[[System], None]) -> Callable[[System], None]:
    STEPS.append((function.__name__.replace("_", " "), function))
    return function


def check(holds: bool, sentence: str) -> None:
    if not holds:
        raise Failure(sentence)


def refused(what: str, action: Callable[[], Any], code: str | None = None) -> None:
    """The action must be refused, with this code where one is given."""
    try:
        action()
    except sdk.BylawError as error:
        actual = getattr(error, "code", None)
        check(code in (None, actual), f"{what}: refused with {actual}, not {code}: {error}")
        return
    raise Failure(f"{what} was not refused")


@step
def reachable_and_of_a_version(system: System) -> None:
    check(system.client.is_reachable(), "the agent is not reachable")
    check(bool(system.client.version().version), "the version is empty")
    check(not sdk.Client("/nonexistent/agent.sock").is_reachable(), "nobody is reachable")


@step
def info_names_the_app(system: System) -> None:
    info = system.client.info()
    check(info.app_id == system.app_id, "Info names another app")
    check(info.tcb_info is not None, "Info has no tcb_info")
    assert info.tcb_info is not None
    check(
        hashlib.sha256(info.tcb_info.app_compose.encode()).digest() == info.compose_hash,
        "compose_hash is not the hash of app_compose",
    )
    check(json.loads(info.key_provider_info)["id"] == system.root.ca_spki.hex(), "another KMS")
    check(bool(info.app_cert), "Info has no certificate")
    check(isinstance(system.client.gpu_info().attestation, str), "GpuInfo is no text")


@step
def keys_are_stable_and_lead_to_the_root(system: System) -> None:
    client, root, app = system.client, system.root, system.app_id
    for algorithm in ("secp256k1", "ed25519"):
        answer = client.get_key("e2e", "proof", algorithm)
        check(answer == client.get_key("e2e", "proof", algorithm), "the key changes")
        check(answer.key != client.get_key("e3e", "proof", algorithm).key, "paths share a key")
        sdk.verify_key_answer(root, app, "proof", algorithm, answer)
        refused(
            "another purpose",
            lambda answer=answer, algorithm=algorithm: sdk.verify_key_answer(  # type: ignore[misc]
                root, app, "other", algorithm, answer
            ),
            "key_chain",
        )
        check("<secret>" in repr(answer), "the key prints")
    refused("an unknown algorithm", lambda: client.get_key("", "", "rsa"), "bad_request")


@step
def accounts_come_from_keys(system: System) -> None:
    answer = system.client.get_key("wallet")
    account = accounts.to_ethereum_account(answer)
    check(account.key == answer.key.expose(), "the account has another key")
    public = sdk.derived_public_key(answer, "ed25519")
    check(bytes(accounts.to_solana_keypair(answer).pubkey()) == public, "another Solana key")
    tls = system.client.get_tls_key()
    check(accounts.to_ethereum_account_secure(tls).address != account.address, "same account")
    check(len(bytes(accounts.to_solana_keypair_secure(tls).pubkey())) == 32, "no Solana key")


@step
def signatures_lead_to_the_root(system: System) -> None:
    client, root, app = system.client, system.root, system.app_id
    for algorithm in ("ed25519", "secp256k1", "secp256k1_prehashed"):
        data, other = secrets.token_bytes(32), secrets.token_bytes(32)
        answer = client.sign(algorithm, data)
        sdk.verify_signature(root, app, algorithm, data, answer)
        refused(
            "other data",
            lambda algorithm=algorithm, other=other, answer=answer: sdk.verify_signature(  # type: ignore[misc]
                root, app, algorithm, other, answer
            ),
            "signature",
        )
        valid = client.verify(algorithm, data, answer.signature, answer.public_key)
        check(valid, "the agent does not verify its own signature")
        forged = client.verify(algorithm, other, answer.signature, answer.public_key)
        check(not forged, "the agent verifies a signature over other data")
    refused("31 bytes as a digest", lambda: client.sign("secp256k1_prehashed", bytes(31)))


@step
def evidence_in_every_form(system: System) -> None:
    client = system.client
    challenge = secrets.token_bytes(64)
    quote, attestation = client.get_quote(challenge), client.attest(challenge)
    info = client.info()
    expect = sdk.Expect(
        report_data=challenge,
        app_id=system.app_id,
        compose_hash=info.compose_hash,
        device_ids=[info.device_id],
        key_provider_id=system.root.ca_spki,
    )
    for evidence in (quote, attestation, attestation.attestation):
        appraisal = system.verifier.verify_evidence(evidence, expect)
        check(appraisal.tcb_status == "UpToDate", "the platform is not up to date")
        check(appraisal.rtmr3 == quote.replay_rtmrs()[3], "the log replays to something else")
        check(appraisal.instance_id == info.instance_id, "another instance")
    measured = sdk.Measurements(appraisal.mrtd, appraisal.rtmr0, appraisal.rtmr1, appraisal.rtmr2)
    system.verifier.verify_evidence(
        quote, sdk.Expect(report_data=challenge, measurements=[measured])
    )

    def against(**changes: Any) -> Callable[[], Any]:
        wanted = sdk.Expect(**{"report_data": challenge, **changes})
        return lambda: system.verifier.verify_evidence(quote, wanted)

    refused("an old challenge", against(report_data=bytes(64)), "report_data_mismatch")
    refused("another app", against(app_id=bytes(20)), "app_id")
    refused("another manifest", against(compose_hash=bytes(32)), "compose_hash")
    refused("another machine", against(device_ids=[bytes(32)]), "device_id")
    refused("another KMS", against(key_provider_id=b"\0"), "key_provider")
    refused("another status", against(tcb_statuses=["OutOfDate"]), "tcb_status")
    other = sdk.Measurements(mrtd=bytes(48))
    refused("another image", against(measurements=[other]), "measurement")
    intel = sdk.Verifier(sdk.Trust.intel(), system.pccs)
    refused("Intel's root", lambda: intel.verify_evidence(quote, expect))
    late = sdk.Verifier(system.trust, system.pccs, clock=lambda: time.time() + 400 * 86400)
    refused("old collateral", lambda: late.verify_evidence(quote, expect), "collateral")
    dead = sdk.Verifier(system.trust, sdk.Pccs("http://127.0.0.1:1"))
    refused("no collateral", lambda: dead.verify_evidence(quote, expect), "collateral")


@step
def events_are_measured(system: System) -> None:
    challenge, payload = secrets.token_bytes(32), secrets.token_bytes(8)
    before = system.client.get_quote(challenge)
    system.client.emit_event("e2e-event", payload)
    after = system.client.get_quote(challenge)
    check(before.replay_rtmrs()[3] != after.replay_rtmrs()[3], "RTMR3 did not change")
    expect = sdk.Expect(report_data=sdk.padded_report_data(challenge))
    appraisal = system.verifier.verify_evidence(after, expect)
    last = appraisal.events[-1]
    check((last.event, last.payload) == ("e2e-event", payload), "the event is not the last")
    mixed = sdk.QuoteAnswer(before.quote, after.event_log, before.report_data, "")
    refused(
        "a log of another time",
        lambda: system.verifier.verify_evidence(mixed, expect),
        "event_log",
    )


@step
def certificates_prove_the_app(system: System) -> None:
    verifier, root = system.verifier, system.root
    answer = system.client.get_tls_key(
        "e2e", ["localhost", "127.0.0.1"], usage_ra_tls=True, usage_client_auth=True
    )
    verified = sdk.verify_certificate(
        verifier, answer.certificate_chain, root, sdk.Expect(app_id=system.app_id)
    )
    check(verified.subject == "e2e", "another subject")
    check(verified.alt_names == ("localhost", "127.0.0.1"), "other names")
    key = load_pem_private_key(answer.key.expose().encode(), None)
    leaf = x509.load_pem_x509_certificate(answer.certificate_chain[0].encode())
    assert isinstance(key, EllipticCurvePrivateKey)
    check(key.public_key() == leaf.public_key(), "the key is not the certificate's")
    sdk.verify_certificate(verifier, answer.certificate_chain[:1], None)
    sdk.verify_certificate(verifier, system.client.info().app_cert, root)
    other = system.client.get_tls_key("e2e", usage_ra_tls=True).certificate_chain
    bare = system.client.get_tls_key("e2e").certificate_chain
    chain = answer.certificate_chain
    elsewhere = sdk.KmsRoot(root.k256_public, b"another")
    refused("no evidence", lambda: sdk.verify_certificate(verifier, bare, root), "encoding")
    refused("another KMS", lambda: sdk.verify_certificate(verifier, chain, elsewhere), "chain")
    refused("no root CA", lambda: sdk.verify_certificate(verifier, chain[:2], root), "chain")
    refused(
        "another app",
        lambda: sdk.verify_certificate(verifier, other, root, sdk.Expect(app_id=bytes(20))),
        "app_id",
    )


@step
def tls_connections_prove_the_app(system: System) -> None:
    answer = system.client.get_tls_key("server", ["localhost"], usage_ra_tls=True)
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder, "server.pem")
        pem.touch(mode=0o600)
        pem.write_text(answer.key.expose() + "".join(answer.certificate_chain))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(2):
            raw, _ = listener.accept()
            try:
                with context.wrap_socket(raw, server_side=True) as peer:
                    peer.sendall(peer.recv(16))
            except OSError:
                raw.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listener.getsockname()[1]

    def connect(expect: sdk.Expect) -> tuple[ssl.SSLSocket, sdk.VerifiedCertificate]:
        return sdk.connect_attested("127.0.0.1", port, system.verifier, system.root, expect)

    connection, peer = connect(sdk.Expect(app_id=system.app_id))
    with connection:
        connection.sendall(b"hello")
        check(connection.recv(16) == b"hello", "the connection does not carry data")
    check(peer.appraisal.app_id == system.app_id, "another app answered")
    refused("a server of another app", lambda: connect(sdk.Expect(app_id=bytes(20))), "app_id")
    thread.join(5)
    listener.close()


@step
def the_chain_names_the_root(system: System) -> None:
    again = asyncio.run(sdk.fetch_kms_root_async(system.rpc_url, system.kms_auth))
    check(again == system.root, "the root changes")
    refused(
        "no contract",
        lambda: sdk.fetch_kms_root(system.rpc_url, bytes(19) + b"\xee"),
        "kms_root",
    )


@step
def environments_are_sealed(system: System) -> None:
    variables = {"NAME": "value"}
    recipient = secrets.token_bytes(32)
    sealed = sdk.encrypt_env(variables, recipient)
    check(len(sealed) == 32 + 12 + 16 + len('{"env":[{"key":"NAME","value":"value"}]}'), "length")
    signer = system.client.get_key("env-signer").key
    envelope = sdk.encrypt_env_signed(variables, recipient, system.app_id, 1, signer)
    check(envelope.startswith(b"BYLAWENV\x02"), "no envelope")
    check(len(envelope) == len(sealed) + 82, "another length")
    refused("a key of low order", lambda: sdk.encrypt_env(variables, bytes(32)))


@step
def the_asynchronous_client_is_alike(system: System) -> None:
    async def run() -> None:
        challenge = secrets.token_bytes(64)
        async with sdk.AsyncClient() as client:
            check(await client.is_reachable(), "the agent is not reachable")
            version, info, key, quote = await asyncio.gather(
                client.version(), client.info(), client.get_key("e2e"), client.get_quote(challenge)
            )
            check(version == system.client.version(), "another version")
            check(info.app_id == system.app_id, "another app")
            check(key == system.client.get_key("e2e"), "another key")
            expect = sdk.Expect(report_data=challenge, app_id=system.app_id)
            await system.verifier.verify_evidence_async(quote, expect)
            await system.verifier.verify_evidence_async(await client.attest(challenge), expect)
            tls = await client.get_tls_key(usage_ra_tls=True)
            await sdk.verify_certificate_async(
                system.verifier, tls.certificate_chain, system.root, sdk.Expect(app_id=info.app_id)
            )
            signed = await client.sign("ed25519", b"data")
            valid = await client.verify("ed25519", b"data", signed.signature, signed.public_key)
            check(valid, "the signature does not verify")
            await client.emit_event("e2e-async", b"")
            check(isinstance((await client.gpu_info()).attestation, str), "GpuInfo is no text")

    asyncio.run(run())


def main() -> int:
    name = "the environment"
    try:
        system = System()
        for name, function in STEPS:
            function(system)
            print(f"ok  {name}")
    except (Failure, sdk.BylawError, OSError, AssertionError) as error:
        print(f"FAILED  {name}: {error}", file=sys.stderr)
        return 1
    print("sdk ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
