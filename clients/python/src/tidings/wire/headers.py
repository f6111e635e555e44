"""The headers of the four datagram classes (chapter 5). Strict: what the specification does not describe is refused."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Union

from ..errors import ProtocolError
from .keys import TAG_BYTES, Suite, suite_of

VERSION = 1
HELLO, PAIR, BULK, FAN = 1, 2, 3, 4
"""Class numbers."""

H1, H2, H3, COOKIE, BEACON = 1, 2, 3, 4, 5
"""Kinds of HELLO."""

_HELLO = struct.Struct("<BBBBIQ32sQ8s")
_SESSION = struct.Struct("<BBBBIQ")
_FAN = struct.Struct("<BBBB4sQQB7s")


@dataclass(frozen=True)
class HelloHeader:
    """Of a handshake datagram, before a session exists."""

    SIZE: ClassVar[int] = 64

    suite: Suite
    kind: int
    slot: int
    steer: int
    sealed_len: int
    gate: int
    salt: bytes
    cookie: int
    overlay_tag: bytes

    def encode(self) -> bytes:
        """The 64 bytes on the wire."""
        return _pack(
            _HELLO, _first_byte(HELLO), self.suite, self.kind << 4 | self.slot, self.steer, self.sealed_len, self.gate, self.salt,
            self.cookie, self.overlay_tag,
        )

    def gated(self) -> bytes:
        """The bytes that the gate covers: all but the gate itself."""
        header = self.encode()
        return header[:8] + header[16:]


@dataclass(frozen=True)
class SessionHeader:
    """Of a PAIR or BULK datagram; `datagram_class` tells which."""

    SIZE: ClassVar[int] = 16

    datagram_class: int
    suite: Suite
    slot: int
    steer: int
    index: int
    counter: int

    def encode(self) -> bytes:
        """The 16 bytes on the wire."""
        return _pack(_SESSION, _first_byte(self.datagram_class), self.suite, self.slot, self.steer, self.index, self.counter)


@dataclass(frozen=True)
class FanHeader:
    """Of a datagram of a stream."""

    SIZE: ClassVar[int] = 32

    suite: Suite
    slot: int
    steer: int
    overlay_tag: bytes
    counter: int
    session: int
    lane: int = 0

    def encode(self) -> bytes:
        """The 32 bytes on the wire."""
        return _pack(
            _FAN, _first_byte(FAN), self.suite, self.slot, self.steer, self.overlay_tag, self.counter, self.session, self.lane, bytes(7)
        )


Header = Union[HelloHeader, SessionHeader, FanHeader]


def read_header(datagram: bytes) -> Header:
    """The header of a whole datagram. Raises `ProtocolError` for whatever is refused before a key is used."""
    if not datagram:
        raise ProtocolError("an empty datagram")
    datagram_class = datagram[0] & 0x0F
    size = {HELLO: HelloHeader.SIZE, PAIR: SessionHeader.SIZE, BULK: SessionHeader.SIZE, FAN: FanHeader.SIZE}.get(datagram_class)
    if len(datagram) < (size or SessionHeader.SIZE) + TAG_BYTES:
        raise ProtocolError(f"a datagram of {len(datagram)} bytes is shorter than header and tag")
    if datagram[0] >> 4 != VERSION:
        raise ProtocolError(f"protocol version {datagram[0] >> 4}: only {VERSION} is known")
    if size is None:
        raise ProtocolError(f"datagram class {datagram_class}: 1 to 4 are known")
    suite = suite_of(datagram[1])
    if datagram_class == HELLO:
        return _read_hello(datagram, suite)
    slot = datagram[2]
    if slot > 7:
        raise ProtocolError(f"byte 2 is {slot:#04x}: a slot is 0 to 7 and the bits above are zero")
    if datagram_class == FAN:
        _, _, _, steer, tag, counter, session, lane, zeros = _FAN.unpack_from(datagram)
        if any(zeros):
            raise ProtocolError("bytes 25 to 31 of a FAN header must be zero")
        return FanHeader(suite, slot, steer, tag, counter, session, lane)
    _, _, _, steer, index, counter = _SESSION.unpack_from(datagram)
    return SessionHeader(datagram_class, suite, slot, steer, index, counter)


def _read_hello(datagram: bytes, suite: Suite) -> HelloHeader:
    _, _, kind_slot, steer, sealed_len, gate, salt, cookie, tag = _HELLO.unpack_from(datagram)
    kind, slot = kind_slot >> 4 & 7, kind_slot & 7
    if kind_slot & 0x88 or not H1 <= kind <= BEACON:
        raise ProtocolError(f"kind and slot {kind_slot:#04x}: kinds are 1 to 5, bits 3 and 7 are zero")
    if sealed_len != len(datagram) - HelloHeader.SIZE:
        raise ProtocolError(f"sealed length {sealed_len}: {len(datagram) - HelloHeader.SIZE} bytes follow the header")
    return HelloHeader(suite, kind, slot, steer, sealed_len, gate, salt, cookie, tag)


def _first_byte(datagram_class: int) -> int:
    return VERSION << 4 | datagram_class


def _pack(layout: struct.Struct, *values: object) -> bytes:
    try:
        return layout.pack(*values)
    except struct.error as error:
        raise ProtocolError(f"a header field is out of its range: {error}") from None
