"""The digests of the handshake and of discovery (chapters 8.1, 11.4 and 14.1)."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import astuple, dataclass
from typing import Any, Sequence, Tuple

from ..errors import ProtocolError
from .codec import NOBODY, Address, Digest, read_addresses, write_addresses

MAX_ADDRESSES = 8


@dataclass(frozen=True)
class Introduction:
    """Who the initiator is, in H1 and H3."""

    ver_min: int
    ver_max: int
    steer: int
    rx_index: int
    rcvbuf: int
    id: bytes
    boot: bytes
    nonce: bytes
    target: bytes
    hs: int
    generation: int
    caps: int

    def check(self) -> None:
        """Raises `ProtocolError` for what an H1 and an H3 are refused for."""
        if self.ver_min > self.ver_max:
            raise ProtocolError(f"an introduction with versions {self.ver_min} to {self.ver_max}: the lowest is the higher one")
        if NOBODY in (self.id, self.boot):
            raise ProtocolError("an introduction with an id or boot of zero")


_INTRODUCTION = "BBBBII16s16s16s16sQQQ"


def _introduction(values: Sequence[Any]) -> tuple[Introduction, int]:
    """The introduction, and its address count, of the values at the start of a fixed part."""
    return Introduction(*values[:3], *values[4:13]), values[3]


def _values(who: Introduction, addresses: Sequence[Address]) -> list[Any]:
    values = list(astuple(who))
    return [*values[:3], len(addresses), *values[3:]]


def _check_count(what: str, count: int) -> None:
    if count > MAX_ADDRESSES:
        raise ProtocolError(f"{what} with {count} addresses: at most {MAX_ADDRESSES} are allowed")


@dataclass(frozen=True)
class H1(Digest):
    """The first word of the initiator. Its datagram is at least 256 bytes long."""

    KIND = 0x01
    LAYOUT = struct.Struct("<" + _INTRODUCTION)

    who: Introduction
    addrs: tuple[Address, ...] = ()

    def check(self) -> None:
        self.who.check()
        _check_count("H1", len(self.addrs))

    @classmethod
    def _split(cls, flags: int, values: Tuple[Any, ...], tail: bytes) -> dict[str, Any]:
        who, count = _introduction(values)
        _check_count("H1", count)
        addresses, _ = read_addresses("H1", count, tail)
        return {"who": who, "addrs": addresses}

    def _join(self) -> tuple[Sequence[Any], bytes]:
        return _values(self.who, self.addrs), write_addresses(self.addrs)


@dataclass(frozen=True)
class H2(Digest):
    """The responder's answer; it keeps nothing."""

    KIND = 0x02
    LAYOUT = struct.Struct("<B3x16s16s16s16s32sQQ")

    ver: int
    id: bytes
    boot: bytes
    nonce_i: bytes
    nonce_r: bytes
    h1_hash: bytes
    known_generation: int
    caps: int


@dataclass(frozen=True)
class H3(Digest):
    """The introduction again, and a PAIR datagram that proves the keys."""

    KIND = 0x03
    LAYOUT = struct.Struct("<" + _INTRODUCTION + "16s16s16s")

    who: Introduction
    responder: bytes
    responder_boot: bytes
    nonce_r: bytes
    addrs: tuple[Address, ...] = ()
    inner: bytes = b""

    def check(self) -> None:
        self.who.check()
        _check_count("H3", len(self.addrs))

    @classmethod
    def _split(cls, flags: int, values: Tuple[Any, ...], tail: bytes) -> dict[str, Any]:
        who, count = _introduction(values)
        _check_count("H3", count)
        addresses, inner = read_addresses("H3", count, tail)
        responder, responder_boot, nonce_r = values[13:]
        return {
            "who": who, "responder": responder, "responder_boot": responder_boot, "nonce_r": nonce_r, "addrs": addresses, "inner": inner,
        }

    def _join(self) -> tuple[Sequence[Any], bytes]:
        values = [*_values(self.who, self.addrs), self.responder, self.responder_boot, self.nonce_r]
        return values, write_addresses(self.addrs) + self.inner


@dataclass(frozen=True)
class Cookie(Digest):
    """Sent by a responder under load in place of H2."""

    KIND = 0x04
    LAYOUT = struct.Struct("<4xQ16s")

    cookie: int
    nonce_i: bytes


@dataclass(frozen=True)
class Beacon(Digest):
    """Where a node is reached, sent to a multicast group (11.4). Read and written here, never sent by this client."""

    KIND = 0x05
    LAYOUT = struct.Struct("<H2x16s16s16s")

    port: int
    id: bytes
    boot: bytes
    ip: bytes

    def check(self) -> None:
        ip = ipaddress.IPv6Address(self.ip)
        plain = ip.ipv4_mapped or ip
        if not any(self.id) or not any(self.boot) or not self.port or plain.is_unspecified or plain.is_multicast:
            raise ProtocolError("a BEACON names no node, or an address that no host has")
