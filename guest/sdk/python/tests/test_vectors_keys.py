"""key_chain.json, sign.json, env_key.json, kms_info.json."""

from __future__ import annotations

from typing import Any

import pytest

from bylaw_sdk import (
    BylawError,
    KmsRoot,
    SignAnswer,
    VerificationError,
    parse_kms_info,
    verify_env_key,
    verify_env_key_legacy,
    verify_key,
    verify_signature,
)

from .vectors import load, named

KEY_CHAIN = load("key_chain")
SIGN = load("sign")
ENV_KEY = load("env_key")
KMS_INFO = load("kms_info")


@pytest.mark.parametrize("case", KEY_CHAIN, ids=named(KEY_CHAIN))
def test_key_chain(case: dict[str, Any]) -> None:
    def run() -> bytes:
        return verify_key(
            case["root"], case["app_id"], case["purpose"], case["public_key"], case["chain"]
        )

    if case["ok"]:
        assert run().hex() == case["app_public"]
    else:
        with pytest.raises(BylawError):
            run()


def sign_answer(case: dict[str, Any]) -> SignAnswer:
    return SignAnswer.from_json(
        {key: case[key] for key in ("signature", "signature_chain", "public_key")}
    )


@pytest.mark.parametrize("case", SIGN, ids=named(SIGN))
def test_sign(case: dict[str, Any]) -> None:
    root = KmsRoot(bytes.fromhex(case["root"]), b"")

    def run() -> bytes:
        return verify_signature(
            root, case["app_id"], case["algorithm"], case["data"], sign_answer(case)
        )

    if case["ok"]:
        assert len(run()) == 33
    else:
        with pytest.raises(BylawError):
            run()


@pytest.mark.parametrize("case", ENV_KEY, ids=named(ENV_KEY))
def test_env_key(case: dict[str, Any]) -> None:
    def run(expected_root: str | None) -> bytes:
        return verify_env_key(
            case["public_key"],
            case["app_id"],
            case["timestamp"],
            case["signature_v1"],
            expected_root,
            now=case["now"],
        )

    if case["ok"]:
        assert run(case["root"]).hex() == case["root"]
        assert run(None).hex() == case["root"]
    else:
        with pytest.raises(BylawError):
            run(case["root"])


@pytest.mark.parametrize("case", ENV_KEY, ids=named(ENV_KEY))
def test_env_key_legacy(case: dict[str, Any]) -> None:
    def run() -> bytes:
        return verify_env_key_legacy(
            case["public_key"], case["app_id"], case["signature"], case["root"]
        )

    if case["ok_legacy"]:
        assert run().hex() == case["root"]
    else:
        with pytest.raises(BylawError):
            run()


@pytest.mark.parametrize("case", KMS_INFO, ids=named(KMS_INFO))
def test_kms_info(case: dict[str, Any]) -> None:
    if case["ok"]:
        root = parse_kms_info(case["return_data"])
        assert root.k256_public.hex() == case["k256_public"]
        assert root.ca_spki.hex() == case["ca_spki"]
    else:
        with pytest.raises(VerificationError) as caught:
            parse_kms_info(case["return_data"])
        assert caught.value.code == "kms_root"


def test_both_verdicts_are_there() -> None:
    for cases in (KEY_CHAIN, SIGN, ENV_KEY, KMS_INFO):
        assert {case["ok"] for case in cases} == {True, False}
