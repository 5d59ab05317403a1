"""A TLS connection whose server proves which app it is."""

import os
import socket
import ssl
import tempfile
import threading
from pathlib import Path

from bylaw_sdk import Client, Expect, Pccs, Trust, Verifier, connect_attested, fetch_kms_root


def start_server() -> int:
    """In a guest: a server whose certificate carries evidence. Returns its port."""
    with Client() as client:
        identity = client.get_tls_key("server", ["localhost"], usage_ra_tls=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder, "server.pem")
        pem.touch(mode=0o600)
        pem.write_text(identity.key.expose() + "".join(identity.certificate_chain))
        context.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        raw, _ = listener.accept()
        with context.wrap_socket(raw, server_side=True) as peer:
            peer.sendall(b"hello, " + peer.recv(100))

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def main() -> None:
    port = start_server()
    root = fetch_kms_root(os.environ["ETH_RPC_URL"], os.environ["KMS_CONTRACT_ADDR"])
    trust = Trust.root(Path(os.environ["BYLAW_ROOT_CA"]).read_bytes())
    verifier = Verifier(trust, Pccs(os.environ["BYLAW_COLLATERAL"]))
    expect = Expect(app_id=os.environ["APP_CONTRACT_ADDR"])

    connection, server = connect_attested("127.0.0.1", port, verifier, root, expect)
    with connection:
        connection.sendall(b"client")
        print(connection.recv(100).decode())
    print(f"by app {server.appraisal.app_id.hex()}")


if __name__ == "__main__":
    main()
