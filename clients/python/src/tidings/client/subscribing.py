"""Subscriptions and what comes on them."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import AsyncIterator, Optional, Protocol

from ..errors import Closed, TidingsError
from ..wire.topics import check_pattern
from . import frames
from .connection import Connection
from .publishing import Owner
from .signal import Signal
from .types import Ack, Event, Gap, Message, Order, Policy, Reconnected, Redelivery, result_of


class SubscriptionOwner(Owner, Protocol):
    """What a subscription needs of its client."""

    named: bool

    def held(self, size: int) -> None:
        """So many bytes more (or less) wait for the application."""


@dataclass(frozen=True)
class Options:
    """The modes of a subscription."""

    ack: Ack = Ack.CLIENT
    order: Order = Order.UNORDERED
    policy: Policy = Policy.DETACH
    redelivery: Optional[Redelivery] = None


class Subscription:
    """Messages whose topic a pattern selects. Iterate over it for messages, or over `events()` for gaps and reconnections as well.

    It is no context manager on purpose: to leave a `with` block would have to end it for good.
    """

    def __init__(self, client: SubscriptionOwner, number: int, overlay: str, pattern: str, options: Options) -> None:
        check_pattern(pattern)
        self.overlay = overlay
        self.pattern = pattern
        self.options = options
        self.number = number
        self.pending: tuple[str, ...] = ()
        """Names of members that did not confirm the subscription yet when the daemon answered."""
        self.gaps = 0
        """Messages that will never come, as far as told."""
        self._client = client
        self._connection: Optional[Connection] = None
        self._stands = False
        self._events: deque[tuple[int, Event]] = deque()
        self._arrived = Signal()
        self._error: Optional[TidingsError] = None
        self._boot = b""
        self._lost = ""
        self._ending = False

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Message]:
        async for event in self.events():
            if isinstance(event, Message):
                yield event

    async def events(self) -> AsyncIterator[Event]:
        """Messages, gaps and reconnections in their order. Ends when the subscription or the client is closed.

        Raises why, if the subscription ended for another reason, as `Fenced` or `Leaving`.
        """
        while True:
            try:
                event = await self.next_event()
            except Closed:
                return
            yield event

    async def next(self, timeout: Optional[float] = None) -> Message:
        """The next message. Raises `TimeoutError` after `timeout` seconds, `Closed` at the end, or why the subscription ended."""
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
            event = await self.next_event(left)
            if isinstance(event, Message):
                return event

    async def next_event(self, timeout: Optional[float] = None) -> Event:
        """The next message, gap or reconnection. Raises as `next` does."""
        while not self._events:
            try:
                await asyncio.wait_for(self._wait(), timeout)
            except asyncio.TimeoutError:
                raise TimeoutError(f"nothing came on {self.pattern} within {timeout} s") from None
        size, event = self._events.popleft()
        self._client.held(-size)
        return event

    async def unsubscribe(self) -> None:
        """Ends the subscription for good, for a named client, too. What came before can still be read, but not acknowledged."""
        if self._error is not None:
            return
        self._ending = True
        if self._connection is not None:
            self._connection.send(frames.Unsubscribe(self.number))
        with self._client.awaiting():
            while self._error is None:
                await self._client.changed.wait()

    async def _wait(self) -> None:
        while not self._events:
            if self._error is not None:
                raise self._error
            await self._arrived.wait()

    async def _stand(self) -> None:
        """Waits until the daemon confirmed it."""
        with self._client.awaiting():
            while not self._stands:
                if self._error is not None:
                    raise self._error
                await self._client.changed.wait()

    def _ack(self, message: Message, *, up_to: bool) -> bool:
        if up_to and self.options.order is not Order.ORDERED:
            raise ValueError("`ack_up_to` needs an ordered subscription: acknowledge each message, or subscribe with Order.ORDERED")
        if self.options.ack is Ack.NODE:
            return True
        # Epochs of two boots of the daemon may be equal: what counts is the connection itself.
        if self._connection is None or message._connection is not self._connection:
            return False
        first = 0 if up_to else message.seq
        epoch = self._connection.welcome.session_epoch
        ack = frames.Ack(self.number, message.handle, message.node, message.boot, first, message.seq, epoch)
        self._connection.acknowledge(ack)
        return True

    # What the client calls.

    def _attach(self, connection: Connection) -> None:
        welcome, options = connection.welcome, self.options
        if self._lost:
            self._put(0, Reconnected(self._client.named, welcome.boot != self._boot, self._lost))
        self._connection = connection
        self._boot = welcome.boot
        attempts, every_ms = (0, 0) if options.redelivery is None else (options.redelivery.attempts, options.redelivery.every_ms)
        connection.send(
            frames.Subscribe(self.number, options.ack, options.order, options.policy, attempts, every_ms, self.overlay, self.pattern)
        )
        if self._ending:
            # The connection was lost before the answer. Only what stands in this session can be ended in it.
            connection.send(frames.Unsubscribe(self.number))

    def _detach(self, error: Exception) -> None:
        self._connection = None
        self._lost = str(error)

    def _take(self, frame: frames.Frame) -> None:
        if isinstance(frame, frames.Deliver) and self._connection is not None:
            again = bool(frame.flags & frames.Deliver.AGAIN)
            for seq, payload in enumerate(frame.payloads, start=frame.seq):
                message = Message(frame.topic, payload, again, seq, frame.handle, frame.node, frame.boot, self, self._connection)
                self._put(len(payload) + 64, message)
        elif isinstance(frame, frames.Gap):
            self.gaps += frame.count
            self._put(64, Gap(frame.first, frame.count, result_of(frame.reason), frame.topic, frame.handle, frame.node, frame.boot))
        elif isinstance(frame, frames.Subscribed):
            self._stands, self.pending = True, frame.pending
        elif isinstance(frame, frames.Unsubscribed):
            self._end(Closed(f"the subscription to {self.pattern} was ended"))
        self._client.changed.notify()

    def _put(self, size: int, event: Event) -> None:
        self._events.append((size, event))
        self._client.held(size)
        self._arrived.notify()

    def _end(self, error: TidingsError) -> None:
        """It is over, for this reason. What came before can still be read."""
        if self._error is None:
            self._error = error
        self._connection = None
        self._client.held(-sum(size for size, _ in self._events))
        self._events = deque((0, event) for _, event in self._events)
        self._arrived.notify()
        self._client.changed.notify()
        self._client.forget(self)
