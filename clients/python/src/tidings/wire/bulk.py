"""The envelope of the bulk channel and its digests (chapter 14.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Sequence, Tuple

from ..errors import ProtocolError
from .codec import Digest, check_part, check_run, read_words, write_words
from .topics import check_pattern, check_topic

MAX_CHUNK = 1160
"""Bytes of a chunk of either channel; a receiver drops longer ones."""

MAX_HASHES = 128
BUCKETS_IN_ALL = 256


@dataclass(frozen=True)
class Bulk(Digest):
    """A chunk of the bulk channel; `content` is a run of digests."""

    KIND = 0x2F
    LAYOUT = struct.Struct("<I")
    TAIL = bytes

    seq: int
    content: bytes


@dataclass(frozen=True)
class Table(Digest):
    """Begins a transfer of a subscription table."""

    KIND = 0x30
    LAYOUT = struct.Struct("<IQQ")

    count: int
    version: int
    base: int


@dataclass(frozen=True)
class SubAdd(Digest):
    """A subscription."""

    KIND = 0x31
    LAYOUT = struct.Struct("<IQIIBBB5x")
    TAIL = str

    sub: int
    client: int
    attempts: int
    every_ms: int
    ack: int
    order: int
    policy: int
    pattern: str

    def check(self) -> None:
        if self.ack > 1 or self.order > 1 or self.policy > 3:
            raise ProtocolError(f"SUB_ADD: ack {self.ack}, order {self.order}, policy {self.policy}: at most 1, 1 and 3 are known")
        check_pattern(self.pattern)


@dataclass(frozen=True)
class SubDel(Digest):
    """A subscription that ended."""

    KIND = 0x32
    LAYOUT = struct.Struct("<I")

    sub: int


@dataclass(frozen=True)
class TableEnd(Digest):
    """Ends a transfer."""

    KIND = 0x33
    LAYOUT = struct.Struct("<4xQ")

    version: int


@dataclass(frozen=True)
class Buckets(Digest):
    """Hashes of buckets of members."""

    KIND = 0x34
    LAYOUT = struct.Struct("<HH")

    first: int
    hashes: tuple[int, ...]

    def check(self) -> None:
        if self.first + len(self.hashes) > BUCKETS_IN_ALL:
            raise ProtocolError(f"BUCKETS: {len(self.hashes)} hashes from bucket {self.first} on: there are {BUCKETS_IN_ALL}")

    @classmethod
    def _split(cls, flags: int, values: Tuple[Any, ...], tail: bytes) -> dict[str, Any]:
        first, count = values
        return {"first": first, "hashes": read_words("BUCKETS", count, MAX_HASHES, tail)}

    def _join(self) -> tuple[Sequence[Any], bytes]:
        return (self.first, len(self.hashes)), write_words("BUCKETS", self.hashes, MAX_HASHES)


@dataclass(frozen=True)
class Retired(Digest):
    """Publishers that are forgotten."""

    KIND = 0x35
    LAYOUT = struct.Struct("<II4x")

    handle: int
    count: int

    def check(self) -> None:
        if self.count == 0 or self.handle + self.count > 2**32 - 1:
            raise ProtocolError(f"RETIRED: {self.count} publishers from {self.handle} on are no run below 2^32")


@dataclass(frozen=True)
class Backlog(Digest):
    """Messages that a subscription is owed."""

    KIND = 0x36
    LAYOUT = struct.Struct("<IIIQ")
    TAIL = str
    AGAIN = 1

    sub: int
    handle: int
    count: int
    first: int
    topic: str

    def check(self) -> None:
        check_run("BACKLOG", self.first, self.count)
        check_topic(self.topic)


@dataclass(frozen=True)
class Catchup(Digest):
    """A message, or a part of one, that was asked for."""

    KIND = 0x37
    LAYOUT = struct.Struct("<IIIQI4x")
    TAIL = bytes

    sub: int
    handle: int
    offset: int
    seq: int
    total: int
    payload: bytes

    def check(self) -> None:
        check_part("CATCHUP", self.seq, self.offset, self.total, self.payload)
