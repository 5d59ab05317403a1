"""Seal an environment for an app, so that it knows who sent it."""

import secrets
import time

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bylaw_sdk import VerificationError, encrypt_env_signed, verify_env_key


def main() -> None:
    app_id = bytes.fromhex("11" * 20)
    # From the KMS's GetAppEnvEncryptPubKey; here, a key that no KMS signed.
    public_key = X25519PrivateKey.generate().public_key().public_bytes_raw()
    timestamp, signature_v1 = int(time.time()), secrets.token_bytes(64) + b"\0"
    trusted_root = "02" + "ab" * 32
    try:
        verify_env_key(public_key, app_id, timestamp, signature_v1, trusted_root)
    except VerificationError as error:
        print(f"as it must be, refused: {error}")

    signer = secrets.token_bytes(32)
    envelope = encrypt_env_signed({"API_KEY": "value"}, public_key, app_id, 1, signer)
    print(f"an envelope of {len(envelope)} bytes")


if __name__ == "__main__":
    main()
