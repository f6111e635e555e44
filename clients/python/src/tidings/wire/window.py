"""Replay windows (chapter 6)."""

from __future__ import annotations

from enum import Enum

from .keys import COUNTER_LIMIT, epoch

PAIR_WINDOW = 2048
BULK_WINDOW = 8192
FAN_WINDOW = 8192


class Verdict(Enum):
    """What to do with a datagram at a counter."""

    NEW = "open it, and mark the counter once its content was taken"
    DUPLICATE = "open it, discard its body, acknowledge it again"
    STALE = "refuse it unopened: too old"
    AHEAD = "refuse it unopened: beyond the window"
    REFUSED = "refuse it unopened: the epoch or the counter is out of range"


class SessionWindow:
    """The window of one direction of PAIR (2,048) or BULK (8,192)."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._highest = -1
        self._marked = 0  # bit i: counter _highest - i was marked

    def judge(self, counter: int) -> Verdict:
        """The verdict on a counter; changes nothing."""
        if not 0 <= counter < COUNTER_LIMIT or abs(epoch(counter) - epoch(max(0, self._highest))) > 1:
            return Verdict.REFUSED
        behind = self._highest - counter
        if behind >= self.size:
            return Verdict.STALE
        if behind >= 0 and self._marked >> behind & 1:
            return Verdict.DUPLICATE
        return Verdict.NEW

    def mark(self, counter: int) -> None:
        """Notes that the datagram at a new counter verified and was taken."""
        ahead = counter - self._highest
        if ahead > 0:
            # Shifting by more than the window would build a number of that many bits for nothing.
            self._marked = (self._marked << min(ahead, self.size) | 1) & (1 << self.size) - 1
            self._highest = counter
        else:
            self._marked |= 1 << -ahead


class StreamWindow:
    """The window of one stream: 8,192 counters from a floor below which all is received or given up."""

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self._opened_at = floor
        self._highest = -1
        self._marked = 0  # bit i: counter floor + i was marked

    def judge(self, counter: int) -> Verdict:
        """The verdict on a counter; changes nothing."""
        if not 0 <= counter < COUNTER_LIMIT:
            return Verdict.REFUSED
        if counter < self._opened_at or counter + FAN_WINDOW < self._highest + 1:
            return Verdict.STALE
        if counter >= self.floor + FAN_WINDOW:
            return Verdict.AHEAD
        if counter < self.floor or self._marked >> counter - self.floor & 1:
            return Verdict.DUPLICATE
        return Verdict.NEW

    def mark(self, counter: int) -> None:
        """Notes that the datagram at a new counter verified and was taken. The floor rises over what is complete."""
        self._highest = max(self._highest, counter)
        self._marked |= 1 << counter - self.floor
        self._rise()

    def raise_floor(self, floor: int) -> None:
        """A later STREAM_OPEN of the session: everything below `floor` is given up. A floor never falls."""
        self._opened_at = max(self._opened_at, floor)
        if floor > self.floor:
            self._marked >>= min(floor - self.floor, FAN_WINDOW)
            self.floor = floor
            self._rise()

    def _rise(self) -> None:
        while self._marked & 1:
            self._marked >>= 1
            self.floor += 1
