"""compose_hash.json, rtmr.json, accounts.json."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bylaw_sdk import (
    KeyAnswer,
    Secret,
    TlsKeyAnswer,
    accounts,
    canonical_compose,
    compose_hash,
    parse_event_log,
    replay_rtmrs,
)

from .vectors import load, named

COMPOSE = load("compose_hash")
RTMR = load("rtmr")
ACCOUNTS = load("accounts")


@pytest.mark.parametrize("case", COMPOSE, ids=named(COMPOSE))
def test_compose_hash(case: dict[str, Any]) -> None:
    for compose in (case["compose"], case["compose"].encode(), json.loads(case["compose"])):
        assert canonical_compose(compose, case["normalize"]) == case["canonical"]
        assert compose_hash(compose, case["normalize"]) == case["hash"]


@pytest.mark.parametrize("case", RTMR, ids=named(RTMR))
def test_replay(case: dict[str, Any]) -> None:
    replayed = replay_rtmrs(case["event_log"])
    assert [register.hex() for register in replayed] == case["rtmrs"]
    assert replay_rtmrs(parse_event_log(case["event_log"])) == replayed


@pytest.mark.parametrize("case", ACCOUNTS["get_key"], ids=named(ACCOUNTS["get_key"]))
def test_accounts_of_get_key(case: dict[str, Any]) -> None:
    answer = KeyAnswer(Secret(bytes.fromhex(case["key"])), (b"", b""))
    assert accounts.to_ethereum_account(answer).address == case["ethereum_address"]
    assert str(accounts.to_solana_keypair(answer).pubkey()) == case["solana_public"]


@pytest.mark.parametrize("case", ACCOUNTS["tls_key"], ids=named(ACCOUNTS["tls_key"]))
def test_accounts_of_get_tls_key(case: dict[str, Any]) -> None:
    answer = TlsKeyAnswer(Secret(case["pem"]), ("",))
    with pytest.warns(accounts.InsecureKeyWarning):
        assert accounts.to_ethereum_account(answer).address == case["ethereum_address"]
    with pytest.warns(accounts.InsecureKeyWarning):
        assert str(accounts.to_solana_keypair(answer).pubkey()) == case["solana_public"]
    secure = accounts.to_ethereum_account_secure(answer)
    assert secure.address == case["ethereum_address_secure"]
    keypair = accounts.to_solana_keypair_secure(answer)
    assert str(keypair.pubkey()) == case["solana_public_secure"]
