"""Publishing: publishers, and messages on their way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Optional, Protocol

from ..errors import Closed, Disconnected, NotDelivered, ProtocolError, TidingsError, TooLarge, WouldBlock
from ..wire.topics import check_topic
from . import frames
from .connection import Connection
from .signal import Signal
from .types import Outcome, Result, result_of

if TYPE_CHECKING:
    from types import TracebackType
    from typing import ContextManager

_FRAME_HEAD = 16
_RECORD_HEAD = 4


class Owner(Protocol):
    """What publishers, subscriptions and watches need of the client that they belong to."""

    changed: Signal

    def awaiting(self) -> ContextManager[None]:
        """While an answer of the daemon is awaited, the client goes on reading whatever else comes."""

    def forget(self, entity: object) -> None:
        """The entity is over: it is not made again after a reconnection."""


class Sent:
    """A message on its way. It is settled once every subscription that it is owed to has its outcome."""

    def __init__(self, client: Owner, seq: int, handle: int, node: bytes, boot: bytes) -> None:
        self.seq = seq
        self.handle = handle
        self.node = node
        self.boot = boot
        self.owed = 0
        """Subscriptions that it is owed to, once it is accepted."""
        self.unsynced = False
        """It was accepted before the node knew the subscriptions of every member."""
        self._client = client
        self._outcomes: list[Outcome] = []
        self._is_accepted = False
        self._error: Optional[Exception] = None
        self._accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"Sent(seq={self.seq}, accepted={self._is_accepted}, owed={self.owed}, outcomes={len(self._outcomes)})"

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will be told of it."""
        return self._settled.done()

    async def accepted(self) -> Sent:
        """Waits until the node has stored it. Raises `Disconnected` if the connection ended before: it may be stored or not."""
        with self._client.awaiting():
            await asyncio.shield(self._accepted)
        if not self._is_accepted:
            assert self._error is not None
            raise self._error
        return self

    async def outcomes(self) -> tuple[Outcome, ...]:
        """Waits for all outcomes, one for each subscription that it is owed to; `Result.UNKNOWN` for those that were not told.

        Raises what `accepted` raises. Without a limit in time: a message may wait long for a dead node.
        """
        await self.accepted()
        with self._client.awaiting():
            await asyncio.shield(self._settled)
        return tuple(self._outcomes)

    async def delivered(self) -> Sent:
        """Waits until every subscription has it. Raises `NotDelivered` if one has not."""
        outcomes = await self.outcomes()
        failed = [outcome for outcome in outcomes if not outcome.delivered]
        if failed:
            results = ", ".join(sorted({getattr(outcome.result, "name", str(outcome.result)).lower() for outcome in failed}))
            raise NotDelivered(f"message {self.seq} is not known delivered to {len(failed)} of {self.owed}: {results}", outcomes)
        return self

    def _accept(self, owed: int, unsynced: bool) -> bool:
        self.owed, self.unsynced, self._is_accepted = owed, unsynced, True
        self._finish(self._accepted)
        return self._check_settled()

    def _add(self, outcome: Outcome) -> bool:
        # With `Ack.NODE` an outcome may come before the acceptance.
        self._outcomes.append(outcome)
        return self._check_settled()

    def _lose(self, error: Exception) -> None:
        if self._is_accepted:
            self._outcomes += [Outcome(Result.UNKNOWN)] * (self.owed - len(self._outcomes))
        else:
            self._error = error
        self._finish(self._accepted)
        self._finish(self._settled)

    def _check_settled(self) -> bool:
        if self._is_accepted and len(self._outcomes) >= self.owed:
            self._finish(self._settled)
        return self._settled.done()

    @staticmethod
    def _finish(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)


class Publisher:
    """Publishes on one topic. After a reconnection it goes on, with a new handle and numbers from 0."""

    def __init__(self, client: Owner, number: int, overlay: str, topic: str) -> None:
        check_topic(topic)
        self.overlay = overlay
        self.topic = topic
        self.number = number
        self.max_message = 0
        """Bytes of the largest message, as the daemon told last: it tells another when the overlay's `max_message` is changed."""
        self.owed = 0
        """Subscriptions that select the topic, as the daemon told last."""
        self._client = client
        self._connection: Optional[Connection] = None
        self._opened: Optional[frames.Opened] = None
        self._credit = 0
        self._spent = 0
        self._next = 0
        self._accepted = 0
        self._inflight: dict[int, Sent] = {}
        self._turn = asyncio.Lock()
        self._questions = 0
        self._closing = False
        self._error: Optional[Exception] = None

    async def __aenter__(self) -> Publisher:
        return self

    async def __aexit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], _: Optional[TracebackType]) -> None:
        await self.close()

    async def publish(self, payload: bytes) -> Sent:
        """Sends a message and waits until it is accepted: stored, and owed to a known number of subscriptions.

        Raises `TooLarge`, `Closed`, `Disconnected` (it may be stored or not), or what the daemon refuses with.
        """
        return await (await self.send(payload)).accepted()

    async def send(self, payload: bytes) -> Sent:
        """Sends a message as soon as there is room for it and a connection, in the order of the calls. Does not wait for acceptance."""
        async with self._turn:
            while True:
                self._check(payload)
                if self._has_room(payload):
                    return self._put(payload)
                with self._client.awaiting():
                    await self._client.changed.wait()

    def offer(self, payload: bytes) -> Sent:
        """Sends a message at once, or raises `WouldBlock`."""
        self._check(payload)
        if self._turn.locked() or not self._has_room(payload):
            raise WouldBlock(f"no room for {len(payload)} bytes on {self.topic} now: `send` waits for it")
        return self._put(payload)

    async def ask_owed(self) -> int:
        """How many subscriptions select the topic now."""
        while True:
            self._check(b"")
            if self._connection is not None and self._opened is not None:
                break
            with self._client.awaiting():
                await self._client.changed.wait()
        connection = self._connection
        asked = self._questions
        connection.send(frames.AskOwed(self.number))
        with self._client.awaiting():
            while self._questions == asked:
                self._check(b"")
                if self._connection is not connection:
                    return await self.ask_owed()
                await self._client.changed.wait()
        return self.owed

    async def settled(self) -> None:
        """Waits until everything that was sent is settled: nothing more will be told of it."""
        with self._client.awaiting():
            while self._inflight:
                await self._client.changed.wait()

    async def close(self) -> None:
        """Closes it. What is accepted goes on; outcomes that are not known yet become `Result.UNKNOWN`: see `settled`."""
        if self._closing or self._error is not None:
            return
        self._closing = True
        self._client.changed.notify()
        if self._connection is not None:
            self._connection.send(frames.Close(self.number))
            with self._client.awaiting():
                while self._connection is not None and self._error is None:
                    await self._client.changed.wait()
        self._end(Closed(f"the publisher of {self.topic} is closed"))

    def _check(self, payload: bytes) -> None:
        if self._error is not None:
            raise self._error
        if self._closing:
            raise Closed(f"the publisher of {self.topic} is closed")
        if self._opened is not None and len(payload) > self.max_message:
            raise TooLarge(f"a message of {len(payload)} bytes: overlay {self.overlay} takes at most {self.max_message}")

    def _has_room(self, payload: bytes) -> bool:
        record = _RECORD_HEAD + len(payload)
        return (
            self._connection is not None
            and self._opened is not None
            and self._spent + record <= self._credit
            and self._connection.has_room(_FRAME_HEAD + record)
        )

    def _put(self, payload: bytes) -> Sent:
        assert self._connection is not None and self._opened is not None
        welcome = self._connection.welcome
        sent = Sent(self._client, self._next, self._opened.handle, welcome.node, welcome.boot)
        self._connection.publish(frames.Publish(self.number, (bytes(payload),)))
        self._inflight[self._next] = sent
        self._next += 1
        self._spent += _RECORD_HEAD + len(payload)
        return sent

    # What the client calls.

    def _attach(self, connection: Connection) -> None:
        self._connection = connection
        self._opened = None
        self._credit = self._spent = self._next = self._accepted = 0
        connection.send(frames.Open(self.number, self.overlay, self.topic))

    def _detach(self, error: Exception) -> None:
        self._connection = self._opened = None
        self._lose_all(Disconnected(f"{error}; whether the message is stored is not known: publish it again, and it may come twice"))

    def _take(self, frame: frames.Frame) -> None:
        if isinstance(frame, frames.Opened):
            # Again, if the overlay takes messages of another size from now on.
            self._opened, self._credit = frame, max(self._credit, frame.credit)
            self.max_message, self.owed = frame.max_message, frame.owed
        elif isinstance(frame, frames.Credit):
            self._credit = max(self._credit, frame.credit)
        elif isinstance(frame, frames.Owed):
            self.owed = frame.owed
            self._questions += 1
        elif isinstance(frame, frames.Closed):
            self._connection = None
        elif isinstance(frame, frames.Accepted):
            if frame.first != self._accepted or frame.first + frame.count > self._next:
                end = frame.first + frame.count
                raise ProtocolError(f"ACCEPTED {frame.first} to {end}: {self._accepted} is next, {self._next} were sent")
            self._accepted += frame.count
            for seq in range(frame.first, self._accepted):
                self._settle(seq, self._inflight[seq]._accept(frame.owed, bool(frame.flags & frames.Accepted.UNSYNCED)))
        elif isinstance(frame, frames.Outcome):
            if frame.first + frame.count > self._next:
                raise ProtocolError(f"OUTCOME of {frame.first} to {frame.first + frame.count}: only {self._next} were sent")
            outcome = Outcome(result_of(frame.result), frame.node, frame.sub)
            for seq in range(frame.first, frame.first + frame.count):
                if seq in self._inflight:
                    self._settle(seq, self._inflight[seq]._add(outcome))
        self._client.changed.notify()

    def _settle(self, seq: int, settled: bool) -> None:
        if settled:
            del self._inflight[seq]

    def _end(self, error: TidingsError) -> None:
        """It is over, for this reason."""
        if self._error is None:
            self._error = error
        self._connection = None
        self._lose_all(error)
        self._client.forget(self)

    def _lose_all(self, error: Exception) -> None:
        inflight, self._inflight = self._inflight, {}
        for sent in inflight.values():
            sent._lose(error)
        self._client.changed.notify()
