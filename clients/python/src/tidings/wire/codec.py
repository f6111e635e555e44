"""What all digests have in common: the head, a fixed part, and for some a tail (chapter 7)."""

from __future__ import annotations

import dataclasses
import ipaddress
import struct
from functools import lru_cache
from typing import Any, ClassVar, Sequence, Tuple, TypeVar, Union

from ..errors import ProtocolError
from .topics import has_control_character

HEAD = struct.Struct("<BBH")
ADDRESS_BYTES = 18
MAX_SEQ = 1 << 62
MAX_MESSAGE = 4 << 20
NOBODY = bytes(16)

D = TypeVar("D", bound="Digest")


@dataclasses.dataclass(frozen=True)
class Digest:
    """A typed record in the body of a datagram.

    A subclass is a frozen dataclass whose fields stand in the order of `LAYOUT`; reserved bytes are `x` there, sent as zero and not
    looked at. If `TAIL` is set, one more field holds what follows up to the digest's end. Other tails override `_split` and `_join`.
    """

    KIND: ClassVar[int]
    LAYOUT: ClassVar[struct.Struct]
    TAIL: ClassVar[Union[None, type[bytes], type[str]]] = None

    flags: int = dataclasses.field(default=0, kw_only=True)

    def check(self) -> None:
        """Raises `ProtocolError` for values that the digest's own rules refuse."""

    def encode(self) -> bytes:
        """The digest on the wire, head included, padding not. Raises `ProtocolError` for values that have no place in it."""
        try:
            self.check()
            values, tail = self._join()
            length = HEAD.size + self.LAYOUT.size + len(tail)
            return HEAD.pack(self.KIND, self.flags, length) + self.LAYOUT.pack(*values) + tail
        except (struct.error, OverflowError, UnicodeEncodeError) as error:
            raise ProtocolError(f"{self} has a value out of its range: {error}") from None

    @classmethod
    def decode(cls: type[D], digest: bytes) -> D:
        """Reads exactly the bytes of one digest, head included."""
        kind, flags, length = read_head(digest)
        if kind != cls.KIND or length != len(digest):
            raise ProtocolError(f"{len(digest)} bytes with the head of kind {kind:#04x}, length {length} are no {cls.__name__}")
        if length < HEAD.size + cls.LAYOUT.size:
            raise ProtocolError(f"{cls.__name__} of {length} bytes: at least {HEAD.size + cls.LAYOUT.size} are needed")
        values = cls.LAYOUT.unpack_from(digest, HEAD.size)
        made = cls(**cls._split(flags, values, digest[HEAD.size + cls.LAYOUT.size :]), flags=flags)
        made.check()
        return made

    @classmethod
    def _split(cls, flags: int, values: Tuple[Any, ...], tail: bytes) -> dict[str, Any]:
        """The fields by name, made of the fixed part and the tail."""
        names = field_names(cls)
        fields = dict(zip(names, values))
        if cls.TAIL is bytes:
            fields[names[-1]] = tail
        elif cls.TAIL is str:
            fields[names[-1]] = read_text(cls.__name__, tail)
        return fields

    def _join(self) -> tuple[Sequence[Any], bytes]:
        """The values of the fixed part, and the tail: the reverse of `_split`."""
        values = [getattr(self, name) for name in field_names(type(self))]
        if self.TAIL is None:
            return values, b""
        tail = values.pop()
        return values, tail.encode() if self.TAIL is str else tail


@lru_cache(maxsize=None)
def field_names(kind: type[Digest]) -> tuple[str, ...]:
    """The names of a digest's fields in the order of its layout, without the flags."""
    return tuple(field.name for field in dataclasses.fields(kind) if field.name != "flags")


def read_head(data: bytes) -> tuple[int, int, int]:
    """Kind, flags and length of the digest at the start of `data`. Raises `ProtocolError` if it does not fit there."""
    if len(data) < HEAD.size:
        raise ProtocolError(f"{len(data)} bytes: the head of a digest has {HEAD.size}")
    kind, flags, length = HEAD.unpack_from(data)
    if not HEAD.size <= length <= len(data):
        raise ProtocolError(f"a digest of kind {kind:#04x} claims {length} bytes: {HEAD.size} to {len(data)} are possible")
    return kind, flags, length


def read_text(what: str, data: bytes) -> str:
    """UTF-8 text. Raises `ProtocolError` for anything else."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ProtocolError(f"{what}: {data!r} is not UTF-8") from None


def check_label(what: str, text: str, limit: int) -> None:
    """Raises `ProtocolError` unless the text is a label of at most `limit` bytes without control characters."""
    if len(text.encode()) > limit or has_control_character(text):
        raise ProtocolError(f"{what} {text!r}: at most {limit} bytes without control characters are allowed")


@dataclasses.dataclass(frozen=True, order=True)
class Address:
    """An IP address and a UDP port. IPv4 addresses are mapped (::ffff:a.b.c.d) on the wire."""

    ip: Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
    port: int

    @staticmethod
    def parse(host: str, port: int) -> Address:
        """Of an IP address in text."""
        return Address(ipaddress.ip_address(host.partition("%")[0]), port)

    @staticmethod
    def decode(data: bytes) -> Address:
        """Of the 18 bytes on the wire."""
        if len(data) != ADDRESS_BYTES:
            raise ProtocolError(f"an address of {len(data)} bytes: {ADDRESS_BYTES} are needed")
        ip = ipaddress.IPv6Address(data[:16])
        return Address(ip.ipv4_mapped or ip, int.from_bytes(data[16:], "little"))

    def encode(self) -> bytes:
        """The 18 bytes on the wire."""
        packed = self.ip.packed
        if len(packed) == 4:
            packed = bytes(10) + b"\xff\xff" + packed
        return packed + self.port.to_bytes(2, "little")

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}" if self.ip.version == 4 else f"[{self.ip}]:{self.port}"


def read_addresses(what: str, count: int, data: bytes) -> tuple[tuple[Address, ...], bytes]:
    """`count` addresses, and what follows them."""
    size = count * ADDRESS_BYTES
    if len(data) < size:
        raise ProtocolError(f"{what} promises {count} addresses and has {len(data)} bytes for them")
    addresses = tuple(Address.decode(data[at : at + ADDRESS_BYTES]) for at in range(0, size, ADDRESS_BYTES))
    return addresses, data[size:]


def write_addresses(addresses: Sequence[Address]) -> bytes:
    """Addresses as they stand in a tail."""
    return b"".join(address.encode() for address in addresses)


def read_words(what: str, count: int, limit: int, data: bytes) -> tuple[int, ...]:
    """`count` words of 64 bits at the start of a tail; what follows is of a later version."""
    if count > limit or len(data) < 8 * count:
        raise ProtocolError(f"{what} promises {count} words and has {len(data)} bytes: at most {limit} words that are all there")
    return struct.unpack_from(f"<{count}Q", data)


def write_words(what: str, words: Sequence[int], limit: int) -> bytes:
    """Words of 64 bits as they stand in a tail."""
    if len(words) > limit:
        raise ProtocolError(f"{what} with {len(words)} words: at most {limit} are allowed")
    try:
        return struct.pack(f"<{len(words)}Q", *words)
    except struct.error as error:
        raise ProtocolError(f"{what} has a word out of range: {error}") from None


def check_run(what: str, first: int, count: int) -> None:
    """Raises `ProtocolError` unless `count` messages from `first` on are a run."""
    if count == 0 or first + count > MAX_SEQ:
        raise ProtocolError(f"{what}: {count} messages from {first} on are no run below 2^62")


def check_part(what: str, seq: int, offset: int, total: int, part: bytes) -> None:
    """Raises `ProtocolError` unless `part` is a piece of a message of `total` bytes."""
    if seq >= MAX_SEQ:
        raise ProtocolError(f"{what}: seq {seq} is not below 2^62")
    if total > MAX_MESSAGE or offset + len(part) > total or (total > 0 and not part):
        raise ProtocolError(f"{what}: {len(part)} bytes at {offset} are no part of a message of {total} bytes (4 MiB at most)")
