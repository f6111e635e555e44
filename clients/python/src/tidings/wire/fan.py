"""The records of FAN (chapters 10.3 and 14.5)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Optional, Sequence, Tuple, Union

from ..errors import ProtocolError
from .codec import MAX_SEQ, Digest, check_part
from .topics import check_topic


@dataclass(frozen=True)
class Define(Digest):
    """Tells a publisher's topic."""

    KIND = 0x40
    LAYOUT = struct.Struct("<IQ")
    TAIL = str

    handle: int
    seq: int
    topic: str

    def check(self) -> None:
        _check_seq("DEFINE", self.seq)
        check_topic(self.topic)


@dataclass(frozen=True)
class Message(Digest):
    """A whole message. Without the flag SEQ its number follows from the record before it: `seq` is None then."""

    KIND = 0x41
    LAYOUT = struct.Struct("<I")
    SEQ = 1

    handle: int
    payload: bytes
    seq: Optional[int] = None

    def check(self) -> None:
        if bool(self.flags & self.SEQ) != (self.seq is not None):
            raise ProtocolError(f"MESSAGE: flags {self.flags:#04x} and seq {self.seq}: a seq is there exactly with flag 1")
        if self.seq is not None:
            _check_seq("MESSAGE", self.seq)

    @classmethod
    def _split(cls, flags: int, values: Tuple[Any, ...], tail: bytes) -> dict[str, Any]:
        (handle,) = values
        if not flags & cls.SEQ:
            return {"handle": handle, "payload": tail}
        if len(tail) < 8:
            raise ProtocolError(f"MESSAGE with flag SEQ: {len(tail)} bytes for the seq, 8 are needed")
        return {"handle": handle, "seq": int.from_bytes(tail[:8], "little"), "payload": tail[8:]}

    def _join(self) -> tuple[Sequence[Any], bytes]:
        seq = b"" if self.seq is None else self.seq.to_bytes(8, "little")
        return (self.handle,), seq + self.payload


@dataclass(frozen=True)
class Fragment(Digest):
    """A part of a message that does not fit one datagram."""

    KIND = 0x42
    LAYOUT = struct.Struct("<IQII")
    TAIL = bytes

    handle: int
    seq: int
    offset: int
    total: int
    payload: bytes

    def check(self) -> None:
        check_part("FRAGMENT", self.seq, self.offset, self.total, self.payload)


FanRecord = Union[Define, Message, Fragment]


def numbered(records: Iterable[Digest]) -> Iterator[tuple[int, FanRecord]]:
    """Each record of one datagram with its seq; for a MESSAGE without one, what follows from the record before it.

    Raises `ProtocolError` at a message whose number does not follow: it and what comes after it are refused.
    """
    before: Optional[tuple[int, FanRecord]] = None
    for record in records:
        if not isinstance(record, (Define, Message, Fragment)):
            continue
        seq = record.seq
        if seq is None:
            if before is None or before[1].handle != record.handle:
                raise ProtocolError(f"a message of handle {record.handle} without seq does not follow a record of that handle")
            seq = before[0] + (0 if isinstance(before[1], Define) else 1)
            _check_seq("MESSAGE", seq)
        before = (seq, record)
        yield before


def _check_seq(what: str, seq: int) -> None:
    if not 0 <= seq < MAX_SEQ:
        raise ProtocolError(f"{what}: seq {seq} is not below 2^62")
