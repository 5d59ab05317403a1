"""A guest agent of tests: answers what it is told, however wrong."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

APP_ID = "11" * 20
TCB_INFO: dict[str, Any] = {
    "mrtd": "01" * 48,
    "rtmr0": "02" * 48,
    "rtmr1": "03" * 48,
    "rtmr2": "04" * 48,
    "rtmr3": "05" * 48,
    "mr_aggregated": "06" * 32,
    "os_image_hash": "07" * 32,
    "compose_hash": "08" * 32,
    "device_id": "09" * 32,
    "event_log": [
        {"imr": 3, "event_type": 134217729, "digest": "", "event": "a", "event_payload": "00"}
    ],
    "app_compose": "{}",
}
ANSWERS: dict[str, Any] = {
    "GetKey": {"key": "aa" * 32, "signature_chain": ["bb" * 65, "cc" * 65]},
    "GetTlsKey": {"key": "PRIVATE KEY TEXT", "certificate_chain": ["leaf", "ca"]},
    "GetQuote": {
        "quote": "0400",
        "event_log": "[]",
        "report_data": "ab" * 64,
        "vm_config": "{}",
        "attestation": "00",
    },
    "Attest": {"attestation": "00ff"},
    "Info": {
        "app_id": APP_ID,
        "instance_id": "12" * 20,
        "app_cert": "",
        "tcb_info": json.dumps(TCB_INFO),
        "app_name": "name",
        "device_id": "13" * 32,
        "mr_aggregated": "14" * 32,
        "os_image_hash": "15" * 32,
        "key_provider_info": "{}",
        "compose_hash": "16" * 32,
        "vm_config": "{}",
        "cloud_vendor": "",
        "cloud_product": "",
    },
    "GpuInfo": {"attestation": ""},
    "Sign": {
        "signature": "aa" * 64,
        "signature_chain": ["aa" * 64, "bb" * 65, ""],
        "public_key": "02" * 33,
    },
    "Verify": {"valid": True},
    "EmitEvent": None,
    "Version": {"version": "0.1.0", "rev": "abc"},
}
"""A well-formed answer of every method."""

Handler = Callable[[socket.socket, str, bytes], None]


def http(status: int, body: bytes, headers: str = "") -> bytes:
    """An HTTP answer."""
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{headers}\r\n"
    ).encode() + body


def answering(answers: dict[str, Any], seen: list[tuple[str, Any]] | None = None) -> Handler:
    """Answers each method with JSON, and notes what was asked."""

    def handle(connection: socket.socket, method: str, body: bytes) -> None:
        if seen is not None:
            seen.append((method, json.loads(body)))
        connection.sendall(http(200, json.dumps(answers[method]).encode()))

    return handle


def sending(raw: bytes) -> Handler:
    """Sends the same bytes to everybody."""
    return lambda connection, method, body: connection.sendall(raw)


@contextlib.contextmanager
def serve(handler: Handler, path: Path | None = None) -> Iterator[str]:
    """Serves one request a connection; yields the socket path, or the URL without one."""
    if path is None:
        listener = socket.create_server(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        endpoint = str(path)
    closing = threading.Event()
    threads: list[threading.Thread] = []

    def accept() -> None:
        while not closing.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=_one_request, args=(connection, handler))
            thread.start()
            threads.append(thread)

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield endpoint
    finally:
        closing.set()
        # Closing alone does not wake a thread that waits in accept().
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join()


def _one_request(connection: socket.socket, handler: Handler) -> None:
    with connection, contextlib.suppress(OSError):
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = connection.recv(65536)
            if not chunk:
                return
            received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(body) < length:
            body += connection.recv(65536)
        method = head.split(b" ")[1].decode().rsplit("/", 1)[-1]
        handler(connection, method, body)
