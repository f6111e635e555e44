"""The digests of PAIR outside of channels, and the control channel's envelope (chapter 14.2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Sequence, Tuple

from ..errors import ProtocolError
from .codec import NOBODY, Address, Digest, check_label, read_addresses, read_text, read_words, write_addresses, write_words
from .hello import MAX_ADDRESSES

MAX_LABEL = 64
MAX_METADATA = 512
MAX_WORDS = 128


@dataclass(frozen=True)
class Opened(Digest):
    """The responder's first words in a session."""

    KIND = 0x10
    LAYOUT = struct.Struct("<IIB3xQQ")

    rx_index: int
    rcvbuf: int
    steer: int
    caps: int
    generation: int


@dataclass(frozen=True)
class Ping(Digest):
    """Asks whether `target` is there."""

    KIND = 0x11
    LAYOUT = struct.Struct("<I16s")

    no: int
    target: bytes


@dataclass(frozen=True)
class Ack(Digest):
    """Answers PING or PING_REQ."""

    KIND = 0x12
    LAYOUT = struct.Struct("<I")

    no: int


@dataclass(frozen=True)
class PingReq(Digest):
    """Asks another member to probe `target`."""

    KIND = 0x13
    LAYOUT = struct.Struct("<I16s")

    no: int
    target: bytes


@dataclass(frozen=True)
class Nack(Digest):
    """The relayed probe was not answered."""

    KIND = 0x14
    LAYOUT = struct.Struct("<I")

    no: int


@dataclass(frozen=True)
class Member(Digest):
    """A member's own record, passed on as its owner issued it."""

    KIND = 0x15
    LAYOUT = struct.Struct("<I16s16sQQQBxBBBBHBB6x")

    app_ver: int
    id: bytes
    boot: bytes
    generation: int
    incarnation: int
    table: int
    state: int
    proto_ver: int
    keys: int
    primary: int
    name: str = ""
    rack: str = ""
    addrs: tuple[Address, ...] = ()
    meta: bytes = b""

    def check(self) -> None:
        if self.id == NOBODY:
            raise ProtocolError("a member with an id of zero")
        _check_state("member", self.state)
        if self.primary > 7:
            raise ProtocolError(f"member: primary slot {self.primary}: 0 to 7 are allowed")
        check_label("member: name", self.name, MAX_LABEL)
        check_label("member: rack", self.rack, MAX_LABEL)
        if len(self.addrs) > MAX_ADDRESSES or len(self.meta) > MAX_METADATA:
            raise ProtocolError(
                f"member: {len(self.addrs)} addresses and {len(self.meta)} bytes of metadata: "
                f"{MAX_ADDRESSES} and {MAX_METADATA} are allowed"
            )

    @classmethod
    def _split(cls, flags: int, values: Tuple[Any, ...], tail: bytes) -> dict[str, Any]:
        (*first, proto_ver, name_len, rack_len, naddr, meta_len, keys, primary) = values
        if name_len > MAX_LABEL or rack_len > MAX_LABEL or naddr > MAX_ADDRESSES or meta_len > MAX_METADATA:
            raise ProtocolError(
                f"member: lengths of name {name_len}, rack {rack_len}, metadata {meta_len} and {naddr} addresses: at most {MAX_LABEL}, "
                f"{MAX_LABEL}, {MAX_METADATA} and {MAX_ADDRESSES}"
            )
        if len(tail) < name_len + rack_len:
            raise ProtocolError(f"member: {len(tail)} bytes for a name of {name_len} and a rack of {rack_len}")
        name = read_text("member: name", tail[:name_len])
        rack = read_text("member: rack", tail[name_len : name_len + rack_len])
        addresses, rest = read_addresses("member", naddr, tail[name_len + rack_len :])
        if len(rest) < meta_len:
            raise ProtocolError(f"member: {len(rest)} bytes for metadata of {meta_len}")
        names = ("app_ver", "id", "boot", "generation", "incarnation", "table", "state")
        return dict(zip(names, first)) | {
            "proto_ver": proto_ver, "keys": keys, "primary": primary, "name": name, "rack": rack, "addrs": addresses,
            "meta": rest[:meta_len],
        }

    def _join(self) -> tuple[Sequence[Any], bytes]:
        name, rack = self.name.encode(), self.rack.encode()
        values = (
            self.app_ver, self.id, self.boot, self.generation, self.incarnation, self.table, self.state, self.proto_ver, len(name),
            len(rack), len(self.addrs), len(self.meta), self.keys, self.primary,
        )
        return values, name + rack + write_addresses(self.addrs) + self.meta


@dataclass(frozen=True)
class Rumour(Digest):
    """A statement about a member whose record need not travel again."""

    KIND = 0x16
    LAYOUT = struct.Struct("<B3x16sQQ16s")
    PORT_CLOSED = 1

    state: int
    id: bytes
    generation: int
    incarnation: int
    accuser: bytes

    def check(self) -> None:
        _check_state("rumour", self.state)


def _check_state(what: str, state: int) -> None:
    if not 1 <= state <= 4:
        raise ProtocolError(f"{what}: state {state}: 1 alive, 2 suspect, 3 dead and 4 left are known")


@dataclass(frozen=True)
class Ctl(Digest):
    """A chunk of the control channel; `content` is a run of digests."""

    KIND = 0x17
    LAYOUT = struct.Struct("<I")
    TAIL = bytes

    seq: int
    content: bytes


@dataclass(frozen=True)
class CtlAck(Digest):
    """State of the control channel at its receiver."""

    KIND = 0x18
    LAYOUT = struct.Struct("<IQ")

    floor: int
    bits: int


@dataclass(frozen=True)
class BulkAck(Digest):
    """State of the bulk channel at its receiver."""

    KIND = 0x19
    LAYOUT = struct.Struct("<IIH2xQ")
    IMMEDIATE = 1

    floor: int
    delay_us: int
    credit: int
    bitmap: tuple[int, ...] = ()

    @classmethod
    def _split(cls, flags: int, values: Tuple[Any, ...], tail: bytes) -> dict[str, Any]:
        floor, delay_us, words, credit = values
        bitmap = read_words("BULK_ACK", words, MAX_WORDS, tail)
        return {"floor": floor, "delay_us": delay_us, "credit": credit, "bitmap": bitmap}

    def _join(self) -> tuple[Sequence[Any], bytes]:
        tail = write_words("BULK_ACK", self.bitmap, MAX_WORDS)
        return (self.floor, self.delay_us, len(self.bitmap), self.credit), tail


@dataclass(frozen=True)
class FanAck(Digest):
    """State of one stream at its receiver."""

    KIND = 0x1A
    LAYOUT = struct.Struct("<IQQQQH6x")
    ANSWER = 1

    delay_us: int
    session: int
    floor: int
    credit: int
    recent: int
    bitmap: tuple[int, ...] = ()

    @classmethod
    def _split(cls, flags: int, values: Tuple[Any, ...], tail: bytes) -> dict[str, Any]:
        *first, words = values
        bitmap = read_words("FAN_ACK", words, MAX_WORDS, tail)
        return dict(zip(("delay_us", "session", "floor", "credit", "recent"), first)) | {"bitmap": bitmap}

    def _join(self) -> tuple[Sequence[Any], bytes]:
        tail = write_words("FAN_ACK", self.bitmap, MAX_WORDS)
        return (self.delay_us, self.session, self.floor, self.credit, self.recent, len(self.bitmap)), tail


@dataclass(frozen=True)
class FanBeat(Digest):
    """Asks for a FAN_ACK."""

    KIND = 0x1B
    LAYOUT = struct.Struct("<4xQQQ")

    session: int
    next: int
    bytes: int


@dataclass(frozen=True)
class YouAreDead(Digest):
    """Tells a member that it is held dead; it refutes."""

    KIND = 0x1C
    LAYOUT = struct.Struct("<4xQQ")

    generation: int
    incarnation: int


@dataclass(frozen=True)
class PathProbe(Digest):
    """Asks whether datagrams of `size` bytes arrive, or whether the peer is at this address."""

    KIND = 0x1D
    LAYOUT = struct.Struct("<II4x")

    no: int
    size: int


@dataclass(frozen=True)
class PathAck(Digest):
    """Answers PATH_PROBE."""

    KIND = 0x1E
    LAYOUT = struct.Struct("<II4x")

    no: int
    size: int
