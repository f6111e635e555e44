"""How a frame of the local client protocol is laid out, and how a stream of bytes is cut into frames (chapter 16)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, ClassVar, Iterator, TypeVar

from ..errors import ProtocolError

MIN_LEN = 4
MAX_LEN = (4 << 20) + (64 << 10)
HEAD = struct.Struct("<IBBH")

F = TypeVar("F", bound="Frame")


@dataclass(frozen=True)
class Frame:
    """One frame. A subclass is a frozen dataclass that tells its layout in three class attributes:

    * `KIND`, its number;
    * `FIXED`, the fixed part: words `name:code` with a `struct` code. `name.len` is the length, or the count, of the tail `name`;
      a word without a name is padding;
    * `TAILS`, the tails in order: `text`, `bytes`, `names` or `records`; `rest` is text, `rest_bytes` bytes up to the frame's end.
    """

    KIND: ClassVar[int]
    FIXED: ClassVar[str] = ""
    TAILS: ClassVar[dict[str, str]] = {}

    flags: int = field(default=0, kw_only=True)

    _layout: ClassVar[struct.Struct]
    _names: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        words = [word.partition(":") for word in cls.FIXED.split()]
        cls._layout = struct.Struct("<" + "".join(code for _, _, code in words))
        cls._names = tuple(name for name, _, _ in words if name)

    def encode(self) -> bytes:
        """The whole frame. Raises `ProtocolError` for values that have no place in it."""
        tails = {name: _write_tail(kind, getattr(self, name)) for name, kind in self.TAILS.items()}
        values = [tails[name[:-4]][0] if name.endswith(".len") else getattr(self, name) for name in self._names]
        try:
            fixed = self._layout.pack(*values)
            body = b"".join((fixed, *(data for _, data in tails.values())))
            if len(body) + MIN_LEN > MAX_LEN:
                raise ProtocolError(f"a {type(self).__name__} frame of {len(body)} bytes: {MAX_LEN - MIN_LEN} fit")
            return HEAD.pack(len(body) + MIN_LEN, self.KIND, self.flags, 0) + body
        except struct.error as error:
            raise ProtocolError(f"{type(self).__name__} has a value out of its range: {error}") from None

    @classmethod
    def decode(cls: type[F], flags: int, body: bytes) -> F:
        """Reads what follows the eight bytes of the head. What follows the tails is of a later version and ignored."""
        what = cls.__name__
        if len(body) < cls._layout.size:
            raise ProtocolError(f"a {what} frame with {len(body)} bytes after its head: at least {cls._layout.size} are needed")
        values: dict[str, Any] = dict(zip(cls._names, cls._layout.unpack_from(body)))
        reader = _Reader(what, body, cls._layout.size)
        for name, kind in cls.TAILS.items():
            values[name] = reader.read(kind, values.pop(name + ".len", 0))
        return cls(**values, flags=flags)


def _write_tail(kind: str, value: Any) -> tuple[int, bytes]:
    """The length or count of a tail, and its bytes."""
    if kind == "names":
        names = [name.encode() for name in value]
        return len(names), b"".join(bytes([len(name)]) + name for name in names)
    if kind == "records":
        return len(value), b"".join(len(record).to_bytes(4, "little") + record for record in value)
    data = value if isinstance(value, bytes) else value.encode()
    return len(data), data


class _Reader:
    """Reads tails one after the other."""

    def __init__(self, what: str, data: bytes, at: int) -> None:
        self._what = what
        self._data = data
        self._at = at

    def read(self, kind: str, size: int) -> Any:
        if kind == "names":
            return tuple(self._text(self._take(1)[0]) for _ in range(size))
        if kind == "records":
            return tuple(self._take(int.from_bytes(self._take(4), "little")) for _ in range(size))
        if kind.startswith("rest"):
            size = len(self._data) - self._at
        return self._take(size) if kind.endswith("bytes") else self._text(size)

    def _text(self, size: int) -> str:
        data = self._take(size)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ProtocolError(f"a {self._what} frame with {data!r}, which is not UTF-8") from None

    def _take(self, size: int) -> bytes:
        data = self._data[self._at : self._at + size]
        if len(data) < size:
            raise ProtocolError(f"a {self._what} frame promises {size} bytes where {len(data)} are left")
        self._at += size
        return data


class FrameCutter:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Kind, flags and body of each frame that is complete now. Raises `ProtocolError` for a head that no frame has."""
        self._data += data
        at = 0
        try:
            while len(self._data) - at >= 4:
                length = int.from_bytes(self._data[at : at + 4], "little")
                if not MIN_LEN <= length <= MAX_LEN:
                    raise ProtocolError(f"a frame of {length} bytes: {MIN_LEN} to {MAX_LEN} are allowed")
                if len(self._data) - at < 4 + length:
                    return
                _, kind, flags, zero = HEAD.unpack_from(self._data, at)
                if zero:
                    raise ProtocolError(f"a frame of kind {kind:#04x} with {zero:#06x} where zeros are due")
                body = bytes(self._data[at + HEAD.size : at + 4 + length])
                at += 4 + length
                yield kind, flags, body
        finally:
            del self._data[:at]
