"""The digests of the control channel (chapter 14.3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import ProtocolError
from .codec import Digest, check_run

REASONS = {
    0: "delivered", 1: "max_attempts", 2: "node_dead", 3: "unsubscribed", 4: "expired", 5: "overflow", 6: "rejected", 7: "left",
    8: "too_large",
}  # fmt: skip
"""Results of a delivery (chapter 13.4); in GAP 0 means that nothing is missing."""


@dataclass(frozen=True)
class StreamOpen(Digest):
    """Installs a stream at the receiver, or raises its floor."""

    KIND = 0x20
    LAYOUT = struct.Struct("<IQQBBB5x")

    size: int
    session: int
    floor: int
    slot: int
    suite: int
    lane: int


@dataclass(frozen=True)
class StreamReady(Digest):
    """Answers STREAM_OPEN: 0 installed, 1 refused."""

    KIND = 0x21
    LAYOUT = struct.Struct("<IQ")

    result: int
    session: int


@dataclass(frozen=True)
class StreamClose(Digest):
    """Removes a stream."""

    KIND = 0x22
    LAYOUT = struct.Struct("<4xQ")

    session: int


@dataclass(frozen=True)
class Delivered(Digest):
    """The delivery acknowledgement of a run of messages, or with a result their refusal."""

    KIND = 0x23
    LAYOUT = struct.Struct("<IIIQI4x")

    sub: int
    handle: int
    count: int
    first: int
    result: int

    def check(self) -> None:
        check_run("DELIVERED", self.first, self.count)
        _check_reason("DELIVERED", self.result)


@dataclass(frozen=True)
class Deferred(Digest):
    """The subscription cannot take messages now; from `first` on they are missed."""

    KIND = 0x24
    LAYOUT = struct.Struct("<II4xQ")
    GONE = 1

    sub: int
    handle: int
    first: int


@dataclass(frozen=True)
class Resumed(Digest):
    """The subscription misses nothing any more."""

    KIND = 0x25
    LAYOUT = struct.Struct("<I")

    sub: int


@dataclass(frozen=True)
class Fetch(Digest):
    """Asks for messages that were missed."""

    KIND = 0x26
    LAYOUT = struct.Struct("<IIIQI4x")

    sub: int
    handle: int
    count: int
    first: int
    max_bytes: int

    def check(self) -> None:
        check_run("FETCH", self.first, self.count)


@dataclass(frozen=True)
class Fetched(Digest):
    """Ends the answer to a FETCH."""

    KIND = 0x27
    LAYOUT = struct.Struct("<IIIQ")

    sub: int
    handle: int
    count: int
    first: int


@dataclass(frozen=True)
class Gap(Digest):
    """Messages that the publisher gave up, or does not have."""

    KIND = 0x28
    LAYOUT = struct.Struct("<IIIQI4x")

    sub: int
    handle: int
    count: int
    first: int
    reason: int

    def check(self) -> None:
        check_run("GAP", self.first, self.count)
        _check_reason("GAP", self.reason)


def _check_reason(what: str, reason: int) -> None:
    if reason not in REASONS:
        raise ProtocolError(f"{what}: reason {reason}: 0 to {max(REASONS)} are known")


@dataclass(frozen=True)
class TableAck(Digest):
    """The table was applied."""

    KIND = 0x29
    LAYOUT = struct.Struct("<4xQ")

    version: int


@dataclass(frozen=True)
class TableAsk(Digest):
    """A change builds on a version that is not held."""

    KIND = 0x2A
    LAYOUT = struct.Struct("<4xQ")

    have: int


@dataclass(frozen=True)
class BucketAsk(Digest):
    """Asks for the members of the buckets whose bits are set."""

    KIND = 0x2B
    LAYOUT = struct.Struct("<4x32s")

    bitmap: bytes
