"""The published dstack-sdk against our sockets: answers checked for meaning."""

import hashlib
import json

from dstack_sdk import DstackClient, TappdClient

client = DstackClient()
key = client.get_key("wallet", "test")
assert len(key.decode_key()) == 32
assert [len(part) for part in key.decode_signature_chain()] == [65, 65]
assert client.get_key("wallet", "test").decode_key() == key.decode_key()
assert client.get_key("other", "test").decode_key() != key.decode_key()

quote = client.get_quote(b"challenge")
raw = bytes.fromhex(quote.quote)
assert raw[568:632] == b"challenge".ljust(64, b"\0"), "the quote carries what was asked"
replayed = quote.replay_rtmrs()
for index in range(4):
    start = 376 + 48 * index
    assert replayed[index] == raw[start : start + 48].hex(), f"RTMR{index} replays"

info = client.info()
compose = info.tcb_info.app_compose
assert hashlib.sha256(compose.encode()).hexdigest() == info.compose_hash
assert json.loads(compose)["name"] == info.app_name
assert "BEGIN CERTIFICATE" in info.app_cert
assert info.tcb_info.rtmr3 == replayed[3]

tls = client.get_tls_key(subject="app.example", alt_names=["app.example"], usage_ra_tls=True)
assert tls.key.startswith("-----BEGIN PRIVATE KEY-----")
assert len(tls.certificate_chain) == 3

legacy = TappdClient()
assert len(legacy.derive_key("/", subject="x").certificate_chain) == 3
legacy_quote = bytes.fromhex(legacy.tdx_quote("hello", "sha512").quote)
assert legacy_quote[568:632] == hashlib.sha512(b"app-data:hello").digest()
print("sdk ok")
