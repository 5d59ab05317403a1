"""The hash of an app's manifest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from .errors import InputError

_COMPOSE_RUNNERS = ("docker-compose", "nerdctl-compose")


def compose_hash(compose: Mapping[str, Any] | str | bytes, normalize: bool = False) -> str:
    """SHA-256, in hexadecimal, of a manifest in canonical form.

    A guest hashes the *bytes* of ``app-compose.json`` and never normalises them, so this
    is the app's hash only if the file holds exactly :func:`canonical_compose`.

    Args:
        compose: the manifest, as JSON text or as an object.
        normalize: leave out what the runner does not read: ``docker_compose_file`` of
            runner ``bash``, ``bash_script`` of compose runners, an empty
            ``pre_launch_script``.

    Raises:
        InputError: it is not a JSON object.
    """
    return hashlib.sha256(canonical_compose(compose, normalize).encode()).hexdigest()


def canonical_compose(compose: Mapping[str, Any] | str | bytes, normalize: bool = False) -> str:
    """The text that is hashed: keys in order, no spaces, UTF-8, NaN and Infinity as null."""
    if isinstance(compose, (str, bytes)):
        try:
            compose = json.loads(compose)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the manifest is not JSON: {error}") from None
    if not isinstance(compose, Mapping):
        raise InputError("the manifest is not a JSON object")
    manifest = dict(compose)
    if normalize:
        _drop_unread(manifest)
    try:
        text = json.dumps(
            _plain(manifest),
            sort_keys=True,
            ensure_ascii=False,
            separators=(",", ":"),
            allow_nan=False,
        )
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the manifest cannot be written as JSON: {error}") from None
    return text


def _drop_unread(manifest: dict[str, Any]) -> None:
    runner = manifest.get("runner")
    if runner == "bash":
        manifest.pop("docker_compose_file", None)
    elif runner in _COMPOSE_RUNNERS:
        manifest.pop("bash_script", None)
    if manifest.get("pre_launch_script") == "":
        del manifest["pre_launch_script"]


def _plain(value: Any) -> Any:
    """Numbers as every language writes them: no NaN, no ``1.0`` where ``1`` is meant."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise InputError("the manifest has a key that is not text")
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
