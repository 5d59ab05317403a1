"""Inside a guest: derive a key, sign with it, and store nothing."""

from bylaw_sdk import Client


def main() -> None:
    with Client() as client:
        info = client.info()
        print(f"app {info.app_id.hex()} ({info.app_name})")
        answer = client.get_key("storage/database", "database")
        # Only expose() reads a secret, so reads can be searched for.
        print(f"a key of {len(answer.key.expose())} bytes, the same after each restart")
        signed = client.sign("ed25519", b"message")
        print(f"signature {signed.signature.hex()}")


if __name__ == "__main__":
    main()
