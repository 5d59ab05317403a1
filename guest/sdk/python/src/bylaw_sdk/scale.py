"""The part of SCALE that V0 attestations use, read strictly."""

from __future__ import annotations

from .fields import FieldError


class ScaleReader:
    """Reads from the start; every length is checked before it is used."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, what: str, length: int) -> bytes:
        """Exactly ``length`` bytes."""
        end = self._at + length
        if end > len(self._data):
            raise FieldError(f"V0 attestation ends inside {what}")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def byte(self, what: str) -> int:
        """One byte."""
        return self.take(what, 1)[0]

    def u32(self, what: str) -> int:
        """Four bytes, little-endian."""
        return int.from_bytes(self.take(what, 4), "little")

    def count(self, what: str, least_bytes: int) -> int:
        """How many elements follow, each of at least ``least_bytes``."""
        count = self._compact(what)
        if count * least_bytes > len(self._data) - self._at:
            raise FieldError(f"V0 attestation ends inside {what}")
        return count

    def bytes(self, what: str) -> bytes:
        """Bytes behind their length."""
        return self.take(what, self._compact(what))

    def text(self, what: str) -> str:
        """UTF-8 behind its length."""
        try:
            return self.bytes(what).decode("utf-8")
        except UnicodeDecodeError:
            raise FieldError(f"V0 attestation: {what} is not UTF-8") from None

    def finish(self) -> None:
        """Refuses trailing bytes."""
        left = len(self._data) - self._at
        if left:
            raise FieldError(f"{left} bytes follow the V0 attestation")

    def _compact(self, what: str) -> int:
        """A compact integer; one number has one encoding only."""
        first = self.byte(what)
        mode = first & 3
        if mode == 0:
            return first >> 2
        if mode == 3:
            if first != 3:
                raise FieldError(f"V0 attestation: the length of {what} exceeds 32 bits")
            value, least = self.u32(what), 2**30
        else:
            rest = self.take(what, 1 if mode == 1 else 3)
            value = int.from_bytes(bytes([first]) + rest, "little") >> 2
            least = 2**6 if mode == 1 else 2**14
        if value < least:
            raise FieldError(f"V0 attestation: the length of {what} is not in its shortest form")
        return value
