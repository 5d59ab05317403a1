"""Reading JSON from outside, field by field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from .errors import AnswerError
from .hexbytes import from_hex

T = TypeVar("T")


class FieldError(AnswerError):
    """A document that is not what it must be. Its sentence never quotes a value."""


def parse_json(text: str | bytes, what: str) -> Any:
    """Parses JSON strictly: UTF-8, no key twice, no NaN or Infinity, no lone surrogates."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except FieldError as error:
        raise FieldError(f"{what}: {error}") from None
    except (ValueError, RecursionError):
        # The parser's own error carries the document, which may hold a key.
        raise FieldError(f"{what} is not valid JSON") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FieldError("a key appears twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise FieldError(f"{name} is not JSON")


class Fields:
    """An object whose fields are read by name and type; unknown ones are ignored.

    Every reader raises :class:`FieldError`, which names the field.
    """

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise FieldError(f"{what} is not a JSON object")
        self._values: dict[object, object] = value
        self._what = what

    def _get(self, name: str, kind: type[T], said: str) -> T:
        if name not in self._values:
            raise FieldError(f"{self._what}: field `{name}` is missing")
        value = self._values[name]
        # bool is an int in Python, not in JSON.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise FieldError(f"{self._what}: field `{name}` is not {said}")
        return value

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return name in self._values

    def text(self, name: str) -> str:
        """Text that can be written as UTF-8."""
        value = self._get(name, str, "text")
        if not _is_unicode(value):
            raise FieldError(f"{self._what}: field `{name}` is not Unicode text")
        return value

    def boolean(self, name: str) -> bool:
        """``true`` or ``false``."""
        return self._get(name, bool, "true or false")

    def integer(self, name: str, largest: int) -> int:
        """A whole number from 0 to ``largest``."""
        value = self._get(name, int, "a whole number")
        if not 0 <= value <= largest:
            raise FieldError(f"{self._what}: field `{name}` is not from 0 to {largest}")
        return value

    def hex(self, name: str, lengths: Iterable[int] | None = None) -> bytes:
        """Hexadecimal bytes, of one of ``lengths`` when given."""
        return self._decode(name, self.text(name), lengths)

    def hex_list(self, name: str) -> tuple[bytes, ...]:
        """A list of hexadecimal bytes."""
        return tuple(self._decode(name, text, None) for text in self.text_list(name))

    def text_list(self, name: str) -> tuple[str, ...]:
        """A list of text."""
        values = self._get(name, list, "a list")
        for value in values:
            if not isinstance(value, str) or not _is_unicode(value):
                raise FieldError(f"{self._what}: field `{name}` holds something else than text")
        return tuple(values)

    def objects(self, name: str, decode: Callable[[object], T]) -> tuple[T, ...]:
        """A list whose entries ``decode`` reads."""
        return tuple(decode(value) for value in self._get(name, list, "a list"))

    def _decode(self, name: str, text: str, lengths: Iterable[int] | None) -> bytes:
        value = from_hex(text)
        if value is None:
            raise FieldError(f"{self._what}: field `{name}` is not hexadecimal")
        if lengths is not None and len(value) not in (allowed := tuple(lengths)):
            said = " or ".join(str(length) for length in allowed)
            raise FieldError(f"{self._what}: field `{name}` has {len(value)} bytes, not {said}")
        return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
