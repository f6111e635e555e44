"""A session between two boots: its four directions of keys, its counters and windows (chapters 5.2, 6 and 8)."""

from __future__ import annotations

from typing import Iterable

from ..errors import ProtocolError
from .body import Body, Place, read_body, write_body
from .codec import Digest
from .headers import BULK, PAIR, SessionHeader, read_header
from .keys import KeySchedule
from .seal import SessionNames
from .window import BULK_WINDOW, PAIR_WINDOW, SessionWindow, Verdict

_PLACES = {PAIR: Place.PAIR, BULK: Place.BULK}


class Session:
    """Seals for the peer and opens what it sealed.

    `index` and `steer` are the peer's choice for datagrams towards it. `own_index` is what this side chose for itself.
    """

    def __init__(self, schedule: KeySchedule, names: SessionNames, *, initiator: bool, own_index: int) -> None:
        own, other = (0, 1) if initiator else (1, 0)
        self.names = names
        self.own_index = own_index
        self.index = 0
        self.steer = 0
        self._record = schedule.record
        self._sending = {number: names.direction(schedule, number, own) for number in (PAIR, BULK)}
        self._receiving = {number: names.direction(schedule, number, other) for number in (PAIR, BULK)}
        self._next = {PAIR: 0, BULK: 0}
        self._windows = {PAIR: SessionWindow(PAIR_WINDOW), BULK: SessionWindow(BULK_WINDOW)}

    def seal(self, digests: Iterable[Digest] = (), datagram_class: int = PAIR) -> bytes:
        """A datagram with these digests under the next counter."""
        counter = self._next[datagram_class]
        header = SessionHeader(datagram_class, self._record.suite, self._record.slot, self.steer, self.index, counter)
        datagram = self._sending[datagram_class].seal(header, write_body(digests))
        self._next[datagram_class] = counter + 1
        return datagram

    def open(self, datagram: bytes, *, index: int | None = None) -> Body:
        """The body of a datagram of the peer; an empty one for a duplicate. Raises `ProtocolError` for what is refused."""
        header = read_header(datagram)
        if not isinstance(header, SessionHeader):
            raise ProtocolError(f"{header} is not of a session")
        if header.index != (self.own_index if index is None else index):
            raise ProtocolError(f"index {header.index}: this session's is {self.own_index}")
        window = self._windows[header.datagram_class]
        verdict = window.judge(header.counter)
        if verdict not in (Verdict.NEW, Verdict.DUPLICATE):
            raise ProtocolError(f"counter {header.counter}: {verdict.value}")
        _, content = self._receiving[header.datagram_class].open(datagram)
        if verdict is Verdict.DUPLICATE:
            return Body(())
        window.mark(header.counter)
        return read_body(content, _PLACES[header.datagram_class])
