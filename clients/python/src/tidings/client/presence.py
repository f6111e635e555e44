"""Watching who is there."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, AsyncIterator, Optional

from ..errors import Closed, TidingsError
from ..wire.codec import Address
from . import frames
from .connection import Connection
from .publishing import Owner
from .signal import Signal
from .types import Change, Presence

if TYPE_CHECKING:
    from types import TracebackType

GONE = (Change.MEMBER_DROP, Change.MEMBER_OUT)


class Watch:
    """The members of an overlay: first each that is known, flagged `snapshot`, then every change.

    A snapshot tells members that are gone as well; `change` says how each stands.

    After a reconnection another snapshot comes. Iterate over it, or look at `members`, which is complete once `ready` returned.
    """

    def __init__(self, client: Owner, number: int, overlay: str) -> None:
        self.overlay = overlay
        self.number = number
        self.members: dict[bytes, Presence] = {}
        """The latest of each member that did not leave or drop out, by node id. It may be held dead: see its `change`."""
        self._client = client
        self._connection: Optional[Connection] = None
        self._snapshot: Optional[dict[bytes, Presence]] = {}
        self._ready = False
        self._events: deque[Presence] = deque()
        self._arrived = Signal()
        self._error: Optional[TidingsError] = None

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], _: Optional[TracebackType]) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[Presence]:
        return self._changes()

    async def _changes(self) -> AsyncIterator[Presence]:
        while True:
            try:
                event = await self.next()
            except Closed:
                return
            yield event

    async def next(self, timeout: Optional[float] = None) -> Presence:
        """The next member or change. Raises `TimeoutError` after `timeout` seconds, `Closed` at the end, or why the watch ended."""
        while not self._events:
            try:
                await asyncio.wait_for(self._wait(), timeout)
            except asyncio.TimeoutError:
                raise TimeoutError(f"nothing changed in overlay {self.overlay} within {timeout} s") from None
        return self._events.popleft()

    async def ready(self) -> None:
        """Waits until the first snapshot is complete. Raises what the daemon refuses with."""
        with self._client.awaiting():
            while not self._ready:
                if self._error is not None:
                    raise self._error
                await self._client.changed.wait()

    def close(self) -> None:
        """Ends the watch. Never waits."""
        if self._connection is not None and self._error is None:
            self._connection.send(frames.Unwatch(self.number))
        self._end(Closed(f"the watch of overlay {self.overlay} was closed"))

    async def _wait(self) -> None:
        while not self._events:
            if self._error is not None:
                raise self._error
            await self._arrived.wait()

    # What the client calls.

    def _attach(self, connection: Connection) -> None:
        self._connection = connection
        self._snapshot = {}
        connection.send(frames.Watch(self.number, self.overlay))

    def _detach(self, error: Exception) -> None:
        self._connection = None

    def _take(self, frame: frames.Frame) -> None:
        if not isinstance(frame, frames.Presence):
            return
        if frame.flags & frames.Presence.END:
            if self._snapshot is not None:
                self.members, self._snapshot = self._snapshot, None
            self._ready = True
            self._client.changed.notify()
            return
        event = _presence(frame)
        view = self.members if self._snapshot is None else self._snapshot
        if event.change in GONE:
            view.pop(event.node, None)
        else:
            view[event.node] = event
        self._events.append(event)
        self._arrived.notify()

    def _end(self, error: TidingsError) -> None:
        if self._error is None:
            self._error = error
        self._connection = None
        self._arrived.notify()
        self._client.changed.notify()
        self._client.forget(self)


def _presence(frame: frames.Presence) -> Presence:
    try:
        change: Change | int = Change(frame.change)
    except ValueError:
        change = frame.change
    kind = frames.Presence
    return Presence(
        change,
        frame.node,
        frame.name,
        Address.decode(frame.ip + frame.port.to_bytes(2, "little")),
        frame.metadata,
        snapshot=bool(frame.flags & kind.SNAPSHOT),
        itself=bool(frame.flags & kind.SELF),
        reached=bool(frame.flags & kind.REACHED),
    )
