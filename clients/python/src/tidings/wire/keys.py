"""Suites, key records and the key schedule (chapter 4)."""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Union

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from ..errors import ProtocolError

TAG_BYTES = 16
IV_BYTES = 12
KEY_BYTES = 32
COUNTER_LIMIT = 1 << 60
EPOCH_BITS = 26

Aead = Union[AESGCM, ChaCha20Poly1305]


class Suite(IntEnum):
    """The ciphers of version 1."""

    AES_128_GCM = 1
    AES_256_GCM = 2
    CHACHA20_POLY1305 = 3
    AES_192_GCM = 4

    @property
    def key_bytes(self) -> int:
        """Length of a derived key."""
        return {Suite.AES_128_GCM: 16, Suite.AES_192_GCM: 24}.get(self, 32)

    @property
    def text(self) -> str:
        """The name in a keyring file."""
        return self.name.lower().replace("_", "-")

    def aead(self, key: bytes) -> Aead:
        """The cipher under a derived key."""
        return ChaCha20Poly1305(key) if self is Suite.CHACHA20_POLY1305 else AESGCM(key)


def suite_of(number: int) -> Suite:
    """The suite with this number. Raises `ProtocolError` for a reserved or unknown one."""
    try:
        return Suite(number)
    except ValueError:
        raise ProtocolError(f"suite {number:#04x} is not one of version 1: 1 to 4 are") from None


@dataclass(frozen=True)
class Record:
    """One key of an overlay: its slot 0-7, its suite, and 32 secret bytes that never show in `repr`."""

    slot: int
    suite: Suite
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.slot <= 7:
            raise ProtocolError(f"slot {self.slot}: 0 to 7 are allowed")
        if len(self.key) != KEY_BYTES:
            raise ProtocolError(f"a key of {len(self.key)} bytes: {KEY_BYTES} are needed")


@dataclass(frozen=True)
class DerivedKey:
    """A key and an IV that one kind of datagram of one direction, stream and epoch is sealed under."""

    suite: Suite
    key: bytes = field(repr=False)
    iv: bytes = field(repr=False)

    def seal(self, counter: int, aad: bytes, body: bytes) -> bytes:
        """The sealed body with its tag."""
        return self.suite.aead(self.key).encrypt(self._nonce(counter), body, aad)

    def open(self, counter: int, aad: bytes, sealed: bytes) -> bytes:
        """The body. Raises `ProtocolError` if the tag does not verify."""
        if len(sealed) < TAG_BYTES:
            raise ProtocolError(f"{len(sealed)} sealed bytes: the tag alone has {TAG_BYTES}")
        try:
            return self.suite.aead(self.key).decrypt(self._nonce(counter), sealed, aad)
        except InvalidTag:
            raise ProtocolError("the tag does not verify: another key, or changed bytes") from None

    def _nonce(self, counter: int) -> bytes:
        value = int.from_bytes(self.iv, "big") ^ counter
        return value.to_bytes(IV_BYTES, "big")


class KeySchedule:
    """Derives every key of one record in one overlay."""

    def __init__(self, record: Record, overlay: bytes) -> None:
        self.record = record
        self.overlay = overlay
        self._prk = hmac.digest(b"tidings/1" + overlay, record.key, "sha256")

    def gate_key(self) -> bytes:
        """The SipHash key of the gate in HELLO headers, 16 bytes."""
        return self._expand(b"sip", b"", 16)

    def hello(self, kind: int, salt: bytes) -> DerivedKey:
        """The key of one HELLO datagram."""
        return self._derive(b"hello", bytes([kind]) + salt)

    def session(self, label: str, context: bytes, counter: int) -> DerivedKey:
        """The key of a PAIR (`pair`), BULK (`bulk`) or FAN (`fan`) datagram at `counter`."""
        return self._derive(label.encode(), context + struct.pack("<I", epoch(counter) & 0xFFFF_FFFF))

    def _derive(self, label: bytes, context: bytes) -> DerivedKey:
        size = self.record.suite.key_bytes
        material = self._expand(label, context, size + IV_BYTES)
        return DerivedKey(self.record.suite, material[:size], material[size:])

    def _expand(self, label: bytes, context: bytes, size: int) -> bytes:
        info = label + bytes([self.record.suite, self.record.slot]) + context
        block, material, number = b"", b"", 1
        while len(material) < size:
            block = hmac.digest(self._prk, block + info + bytes([number]), "sha256")
            material += block
            number += 1
        return material[:size]


def epoch(counter: int) -> int:
    """The epoch of a counter. Raises `ProtocolError` at 2^60 and above, where nothing is sealed or opened."""
    if not 0 <= counter < COUNTER_LIMIT:
        raise ProtocolError(f"counter {counter}: nothing is sealed or opened at 2^60 or above")
    return counter >> EPOCH_BITS


def hkdf_sha256(salt: bytes, secret: bytes, info: bytes) -> bytes:
    """HKDF-SHA-256 (RFC 5869) with 32 bytes of output."""
    prk = hmac.new(salt, secret, hashlib.sha256).digest()
    return hmac.new(prk, info + b"\x01", hashlib.sha256).digest()
