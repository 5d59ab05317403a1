"""Cases of evidence.json and certificate.json, and a collateral service that replays them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from bylaw_sdk import (
    Appraisal,
    Collateral,
    CollateralSource,
    Expect,
    FixedCollateral,
    Measurements,
    Trust,
    Verifier,
)


def trust_of(root: str | None) -> Trust:
    return Trust.intel() if root is None else Trust.root(root)


def expect_of(expect: dict[str, Any]) -> Expect:
    known = dict(expect)
    if "measurements" in known:
        known["measurements"] = [Measurements(**entry) for entry in known["measurements"]]
    return Expect(**known)


def value_of(case: dict[str, Any], file: dict[str, Any], name: str) -> Any:
    """What the case puts in the place of the file's own value."""
    return case[name] if name in case else file.get(name)


def fixed_collateral(case: dict[str, Any], file: dict[str, Any]) -> FixedCollateral | None:
    value = value_of(case, file, "collateral")
    return None if value is None else FixedCollateral(Collateral.from_json(value))


def verifier_of(
    case: dict[str, Any], file: dict[str, Any], collateral: CollateralSource
) -> Verifier:
    time = value_of(case, file, "time")
    return Verifier(
        trust_of(value_of(case, file, "root_ca")), collateral, clock=lambda: float(time)
    )


def allowed_codes(case: dict[str, Any]) -> list[str]:
    return [case["code"], *case.get("or", [])]


def assert_appraisal(appraisal: Appraisal, expected: dict[str, Any]) -> None:
    for name in ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "report_data", "app_id"):
        assert getattr(appraisal, name).hex() == expected[name], name
    for name in ("compose_hash", "instance_id", "device_id", "mr_system", "mr_aggregated"):
        assert getattr(appraisal, name).hex() == expected[name], name
    assert appraisal.tcb_status == expected["tcb_status"]
    assert list(appraisal.advisory_ids) == expected["advisory_ids"]
    assert appraisal.debug is False
    assert expected["debug"] is False
    provider = appraisal.key_provider
    assert provider is not None
    assert {"name": provider.name, "id": provider.id} == expected["key_provider"]
    events = [
        {"event": event.event, "payload": event.payload.hex(), "version": event.version}
        for event in appraisal.events
    ]
    assert events == expected["events"]


@contextlib.contextmanager
def collateral_service(pccs: dict[str, Any]) -> Iterator[str]:
    """Serves recorded answers, by path without query; yields the base URL."""

    class Replay(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            recorded = pccs.get(urlsplit(self.path).path)
            if recorded is None:
                self.send_error(404)
                return
            body = bytes.fromhex(recorded["body"])
            self.send_response(recorded["status"])
            for name, value in recorded["headers"].items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Replay)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
