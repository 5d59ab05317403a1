"""The deprecated Tappd clients, which old apps still use."""

import hashlib
import json

import httpx
from Crypto.Hash import keccak

from .certificates import alternatives, chained, own_key, subject
from .evidence import replayed
from .system import System, check, equal, refused

HASHES = {
    **{
        name: lambda data, name=name: hashlib.new(name.replace("sha3-", "sha3_"), data)
        for name in ("sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512")
    },
    **{
        f"keccak{bits}": lambda data, bits=bits: keccak.new(digest_bits=bits, data=data)
        for bits in (256, 384, 512)
    },
}


async def derived(tappd, client, system: System) -> None:
    """DeriveKey: one P-256 key a path, certified as any TLS key."""
    scalars = {}
    for path in ("", "/", "web"):
        answer = await tappd.derive_key(path, subject="old.example")
        leaf = chained(system, answer.certificate_chain)
        scalars[path] = own_key(answer, leaf)
        equal(subject(leaf), ["old.example"], "the subject")
        # Both sockets derive the same 32 bytes from the app key and a path.
        key = (await client.get_key(path)).decode_key()
        equal(scalars[path].to_bytes(32, "big"), key, f"GetKey's bytes for {path!r}")
    equal(len(set(scalars.values())), 3, "distinct keys of three paths")
    again = await tappd.derive_key("web", alt_names=["b.example", "a.example"])
    leaf = chained(system, again.certificate_chain)
    equal(own_key(again, leaf), scalars["web"], "the key of one path asked twice")
    equal(subject(leaf), ["web"], "the subject is the path unless told")
    equal(alternatives(leaf), ["b.example", "a.example"], "alternative names in order")


async def quotes(tappd, raw, system: System) -> None:
    """TdxQuote: every way of hashing, and raw data."""
    for name, function in HASHES.items():
        answer = await tappd.tdx_quote("hello", name)
        digest = function(b"app-data:hello").digest().ljust(64, b"\0")
        equal(replayed(answer).report_data, digest, f"report data hashed by {name}")
        tagged = await raw(
            "TdxQuote",
            {"report_data": b"hello".hex(), "hash_algorithm": name, "prefix": "tag"},
        )
        equal((tagged["hash_algorithm"], tagged["prefix"]), (name, "tag"), "the echo")
        digest = function(b"tag:hello").digest()
        check(digest.hex() in tagged["quote"], f"a prefix is hashed by {name}")
    echo = await raw("TdxQuote", {"report_data": b"hello".hex()})
    equal(echo["hash_algorithm"], "sha512", "the hash unless told")
    equal(echo["prefix"], "app-data", "the prefix unless told")

    for data in (b"short", bytes(range(64))):
        answer = await tappd.tdx_quote(data, "raw")
        # This SDK pads raw data on the left.
        equal(replayed(answer).report_data, data.rjust(64, b"\0"), "raw report data")
    answer = await tappd.tdx_quote(b"\x07" * 64)
    equal(replayed(answer).report_data, b"\x07" * 64, "raw is the SDK's default")
    await refused(
        tappd.tdx_quote(b"short"),
        "raw data of 5 bytes the SDK did not pad",
        saying="invalid content length",
        by=httpx.HTTPStatusError,
    )
    await refused(
        tappd.tdx_quote(bytes(65), "raw"),
        "raw data of 65 bytes, asked through the SDK",
        saying="too large",
        by=ValueError,
    )
    await refused(
        tappd.tdx_quote("hello", "md5"),
        "an unknown hash",
        saying="invalid hash algorithm",
        by=httpx.HTTPStatusError,
    )


async def info(tappd, client, system: System) -> None:
    """Info and Version are those of the new socket."""
    check(await tappd.is_reachable(), "tappd is reachable")
    old, new = await tappd.info(), await client.info()
    equal(bytes.fromhex(old.app_id), system.app_id, "the app id")
    for field in ("instance_id", "app_cert", "app_name", "device_id", "compose_hash"):
        equal(getattr(old, field), getattr(new, field), f"tappd's {field}")
    equal(old.tcb_info.rtmr3, new.tcb_info.rtmr3, "tappd's RTMR3")
    compose = old.tcb_info.app_compose
    equal(hashlib.sha256(compose.encode()).hexdigest(), old.compose_hash, "its hash")
    equal(json.loads(compose)["name"], old.app_name, "the name")
    equal(await tappd.version(), await client.version(), "tappd's version")


async def absent(tappd) -> None:
    """What the client inherits and this service never had is refused."""
    for call in (
        tappd.get_key("a", "b"),
        tappd.get_tls_key(),
        tappd.get_quote(b"x"),
        tappd.attest(b"x"),
        tappd.emit_event("x", b"y"),
        tappd.sign("ed25519", b"x"),
        tappd.verify("ed25519", b"x", bytes(64), bytes(32)),
    ):
        await refused(
            call,
            "a method tappd lacks",
            saying="Service not found: Tappd.",
            by=httpx.HTTPStatusError,
        )
