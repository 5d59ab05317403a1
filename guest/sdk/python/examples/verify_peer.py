"""A server asks its peer for evidence over a fresh challenge and verifies it."""

import os
import secrets
from pathlib import Path

from bylaw_sdk import (
    CachedCollateral,
    Client,
    Expect,
    Pccs,
    Trust,
    VerificationError,
    Verifier,
    fetch_kms_root,
)


def main() -> None:
    # Who may be the peer: decided beforehand, never read from the peer itself.
    app_id = os.environ["APP_CONTRACT_ADDR"]
    root = fetch_kms_root(os.environ["ETH_RPC_URL"], os.environ["KMS_CONTRACT_ADDR"])
    # In production: Verifier(Trust.intel(), CachedCollateral(Pccs())).
    trust = Trust.root(Path(os.environ["BYLAW_ROOT_CA"]).read_bytes())
    verifier = Verifier(trust, CachedCollateral(Pccs(os.environ["BYLAW_COLLATERAL"])))

    challenge = secrets.token_bytes(64)
    with Client() as peer:  # stands in for a peer that sends its evidence over the network
        evidence = peer.attest(challenge).attestation

    expect = Expect(report_data=challenge, app_id=app_id, key_provider_id=root.ca_spki)
    try:
        appraisal = verifier.verify_evidence(evidence, expect)
    except VerificationError as error:
        raise SystemExit(f"not trusted, rule {error.code}: {error}") from None
    print(f"app {appraisal.app_id.hex()}, manifest {appraisal.compose_hash.hex()}")
    print(f"platform {appraisal.tcb_status}, machine {appraisal.device_id.hex()}")


if __name__ == "__main__":
    main()
