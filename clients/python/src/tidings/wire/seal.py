"""Sealing and opening datagrams of every class (chapters 4 and 5)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Union

from ..errors import ProtocolError
from .body import Place, read_body
from .hashes import overlay_tag, steer
from .headers import BULK, FAN, PAIR, FanHeader, HelloHeader, SessionHeader, read_header
from .keyring import Keyring
from .keys import TAG_BYTES, DerivedKey, KeySchedule, epoch
from .siphash import siphash

SMALLEST_H1 = 256


def seal_hello(
    schedule: KeySchedule, kind: int, salt: bytes, body: bytes, *, cookie: int = 0, steer_byte: int | None = None
) -> bytes:
    """A HELLO datagram. `salt` is 32 fresh random bytes for each datagram; `steer_byte` is the overlay's own unless it is given."""
    record = schedule.record
    steer_of_overlay = steer(schedule.overlay) if steer_byte is None else steer_byte
    header = HelloHeader(
        record.suite, kind, record.slot, steer_of_overlay, len(body) + TAG_BYTES, 0, salt, cookie, overlay_tag(schedule.overlay)
    )
    bytes_before = header.encode()
    gate = siphash(schedule.gate_key(), header.gated())
    aad = bytes_before[:8] + gate.to_bytes(8, "little") + bytes_before[16:]
    return aad + schedule.hello(kind, salt).seal(0, aad, body)


def open_hello(overlay: bytes, keyring: Keyring, datagram: bytes) -> tuple[HelloHeader, bytes]:
    """The header and body of a HELLO datagram of this overlay. Raises `ProtocolError` for whatever is refused."""
    header = read_header(datagram)
    if not isinstance(header, HelloHeader):
        raise ProtocolError("not a HELLO datagram")
    if header.overlay_tag != overlay_tag(overlay):
        raise ProtocolError(f"a HELLO of another overlay, with the tag {header.overlay_tag.hex()}")
    record = keyring.record(header.slot)
    if record.suite != header.suite:
        raise ProtocolError(f"suite {header.suite.text}: the record in slot {record.slot} has {record.suite.text}")
    schedule = KeySchedule(record, overlay)
    expected = siphash(schedule.gate_key(), header.gated())
    if not hmac.compare_digest(expected.to_bytes(8, "little"), header.gate.to_bytes(8, "little")):
        raise ProtocolError("the gate of a HELLO does not match")
    aad = datagram[: HelloHeader.SIZE]
    body = schedule.hello(header.kind, header.salt).open(0, aad, datagram[HelloHeader.SIZE :])
    first = read_body(body, Place.HELLO).digests[:1]
    if not first or first[0].KIND != header.kind:
        raise ProtocolError(f"a HELLO of kind {header.kind} that does not begin with that digest")
    return header, body


@dataclass(frozen=True)
class Direction:
    """The keys of one class in one direction of a session (PAIR, BULK), or of a stream (FAN)."""

    schedule: KeySchedule
    datagram_class: int
    context: bytes

    def key(self, counter: int) -> DerivedKey:
        """The derived key of the counter's epoch."""
        label = {PAIR: "pair", BULK: "bulk", FAN: "fan"}[self.datagram_class]
        return self.schedule.session(label, self.context, counter)

    def seal(self, header: Union[SessionHeader, FanHeader], body: bytes) -> bytes:
        """The datagram. A counter is used once."""
        aad = header.encode()
        return aad + self.key(header.counter).seal(header.counter, aad, body)

    def open(self, datagram: bytes) -> tuple[Union[SessionHeader, FanHeader], bytes]:
        """The header and body. Raises `ProtocolError` for whatever is refused; windows are the caller's affair."""
        header = read_header(datagram)
        record = self.schedule.record
        if isinstance(header, HelloHeader):
            raise ProtocolError("a HELLO datagram where one of a session was expected")
        datagram_class = header.datagram_class if isinstance(header, SessionHeader) else FAN
        if (datagram_class, header.suite, header.slot) != (self.datagram_class, record.suite, record.slot):
            raise ProtocolError(f"class, suite and slot of {header} are not those of the session")
        if isinstance(header, FanHeader) and header.overlay_tag != overlay_tag(self.schedule.overlay)[:4]:
            raise ProtocolError(f"a FAN datagram of another overlay, with the tag {header.overlay_tag.hex()}")
        epoch(header.counter)
        aad = datagram[: header.SIZE]
        return header, self.key(header.counter).open(header.counter, aad, datagram[header.SIZE :])


@dataclass(frozen=True)
class SessionNames:
    """What the keys of a session are bound to: both nodes with their boots, and both nonces of the handshake."""

    initiator: bytes
    initiator_boot: bytes
    responder: bytes
    responder_boot: bytes
    nonce_i: bytes
    nonce_r: bytes

    def direction(self, schedule: KeySchedule, datagram_class: int, number: int) -> Direction:
        """The keys for PAIR or BULK that the initiator (`number` 0) or the responder (1) seals."""
        context = bytes([number]) + self.initiator + self.initiator_boot + self.responder + self.responder_boot
        return Direction(schedule, datagram_class, context + self.nonce_i + self.nonce_r)


def stream_direction(schedule: KeySchedule, node: bytes, boot: bytes, session: int, lane: int = 0) -> Direction:
    """The keys of a stream; node and boot are the publisher's."""
    return Direction(schedule, FAN, node + boot + session.to_bytes(8, "little") + bytes([lane]))
