"""The vectors that every SDK passes; a missing file fails the tests that need it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[4] / "test" / "vectors"


def load(name: str) -> Any:
    """One file of the shared SDK vectors, never empty."""
    value = json.loads((ROOT / "sdk" / f"{name}.json").read_text())
    assert value, f"{name}.json is empty"
    return value


def named(cases: list[dict[str, Any]]) -> list[str]:
    """Ids of parametrised tests."""
    return [str(case.get("name", number)) for number, case in enumerate(cases)]
