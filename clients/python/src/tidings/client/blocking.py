"""The client for programs without asyncio: the asyncio client on a thread of its own.

Its objects may be used from several threads. Every wait has a `timeout` in seconds (None: without limit) and raises `TimeoutError`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import threading
from typing import TYPE_CHECKING, Any, Coroutine, Iterator, Optional, TypeVar

from ..errors import Closed
from . import aio, presence, publishing, subscribing
from .types import Ack, Event, Message, Order, Outcome, Policy, Presence, Redelivery

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")


class _Thread:
    """An event loop on a thread, and calls into it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="tidings", daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: Optional[float] = None) -> T:
        """Runs a coroutine there and waits for it."""
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:
            coroutine.close()
            raise Closed("the client is closed") from None
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError as error:
            if future.done() and isinstance(error, TimeoutError):
                raise  # the coroutine's own
            raise TimeoutError(f"no answer within {timeout} s") from None
        finally:
            future.cancel()

    def stop(self) -> None:
        """Ends the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Client:
    """A client of the daemon on this host. See `AsyncClient` for what its arguments mean and how it reconnects."""

    def __init__(self, socket: Optional[str] = None, *, name: str = "", secret: Optional[bytes] = None) -> None:
        self._client = aio.AsyncClient(socket, name=name, secret=secret)
        self._thread: Optional[_Thread] = None

    def __enter__(self) -> Client:
        return self.connect()

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], _: Optional[TracebackType]) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._client.connected

    def connect(self, patience: Optional[float] = 0.0) -> Client:
        """Makes the first connection; see `AsyncClient.connect`."""
        if self._thread is not None:
            raise Closed("a client connects once: make another one")
        self._thread = _Thread()
        try:
            self._thread.call(self._client.connect(patience))
        except BaseException:
            self._thread.stop()
            raise
        return self

    def close(self) -> None:
        """Closes the connection. Subscriptions of a named client stand on for a while; what was not acknowledged comes again."""
        thread = self._thread
        if thread is not None and not thread.loop.is_closed():
            thread.call(self._client.close())
            thread.stop()

    def publisher(self, overlay: str, topic: str, *, timeout: Optional[float] = None) -> Publisher:
        """Makes a publisher on a topic; see `AsyncClient.publisher`."""
        thread = self._started()
        return Publisher(thread, thread.call(self._client.publisher(overlay, topic), timeout))

    def subscribe(
        self, overlay: str, pattern: str, *, ack: Ack = Ack.CLIENT, order: Order = Order.UNORDERED, policy: Policy = Policy.DETACH,
        redelivery: Optional[Redelivery] = None, timeout: Optional[float] = None,
    ) -> Subscription:
        """Subscribes to a topic, a prefix as `orders.*`, or `*`; see `AsyncClient.subscribe`."""
        thread = self._started()
        making = self._client.subscribe(overlay, pattern, ack=ack, order=order, policy=policy, redelivery=redelivery)
        return Subscription(thread, thread.call(making, timeout))

    def watch(self, overlay: str, *, timeout: Optional[float] = None) -> Watch:
        """Watches who is there; returns when the first snapshot is complete."""
        thread = self._started()
        return Watch(thread, thread.call(self._client.watch(overlay), timeout))

    def members(self, overlay: str, *, timeout: Optional[float] = None) -> list[dict[str, Any]]:
        """Every member of an overlay; see `AsyncClient.members`."""
        return self._started().call(self._client.members(overlay), timeout)

    def overlays(self, *, timeout: Optional[float] = None) -> list[dict[str, Any]]:
        """The overlays that the node runs and this client may see."""
        return self._started().call(self._client.overlays(), timeout)

    def stats(self, *, timeout: Optional[float] = None) -> dict[str, Any]:
        """The node's counters."""
        return self._started().call(self._client.stats(), timeout)

    def node_info(self, *, timeout: Optional[float] = None) -> dict[str, Any]:
        """What the node says of itself."""
        return self._started().call(self._client.node_info(), timeout)

    def leave(self, overlay: str = "", *, timeout: Optional[float] = None) -> None:
        """Makes the node leave an overlay, or without one all, which stops the daemon."""
        self._started().call(self._client.leave(overlay), timeout)

    def _started(self) -> _Thread:
        if self._thread is None:
            raise Closed("the client is not connected yet: call `connect`, or use it in `with`")
        return self._thread


class Sent:
    """A message on its way; see `tidings.client.publishing.Sent`."""

    def __init__(self, thread: _Thread, sent: publishing.Sent) -> None:
        self._thread = thread
        self._sent = sent

    def __repr__(self) -> str:
        return repr(self._sent)

    @property
    def seq(self) -> int:
        """Its number on its publisher."""
        return self._sent.seq

    @property
    def owed(self) -> int:
        """Subscriptions that it is owed to, once it is accepted."""
        return self._sent.owed

    @property
    def unsynced(self) -> bool:
        """It was accepted before the node knew the subscriptions of every member."""
        return self._sent.unsynced

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will be told of it."""
        return self._sent.is_settled

    def accepted(self, timeout: Optional[float] = None) -> Sent:
        """Waits until the node has stored it."""
        self._thread.call(self._sent.accepted(), timeout)
        return self

    def outcomes(self, timeout: Optional[float] = None) -> tuple[Outcome, ...]:
        """Waits for all outcomes."""
        return self._thread.call(self._sent.outcomes(), timeout)

    def delivered(self, timeout: Optional[float] = None) -> Sent:
        """Waits until every subscription has it. Raises `NotDelivered` if one has not."""
        self._thread.call(self._sent.delivered(), timeout)
        return self


class Publisher:
    """Publishes on one topic; see `tidings.client.publishing.Publisher`."""

    def __init__(self, thread: _Thread, publisher: publishing.Publisher) -> None:
        self._thread = thread
        self._publisher = publisher

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], _: Optional[TracebackType]) -> None:
        self.close()

    @property
    def topic(self) -> str:
        """What it publishes on."""
        return self._publisher.topic

    @property
    def max_message(self) -> int:
        """Bytes of the largest message, as the daemon told last."""
        return self._publisher.max_message

    def publish(self, payload: bytes, timeout: Optional[float] = None) -> Sent:
        """Sends a message and waits until it is accepted. After a `TimeoutError` it may be sent or not."""
        return Sent(self._thread, self._thread.call(self._publisher.publish(payload), timeout))

    def send(self, payload: bytes, timeout: Optional[float] = None) -> Sent:
        """Sends a message as soon as there is room for it. Does not wait for acceptance."""
        return Sent(self._thread, self._thread.call(self._publisher.send(payload), timeout))

    def offer(self, payload: bytes) -> Sent:
        """Sends a message at once, or raises `WouldBlock`."""

        async def offer() -> publishing.Sent:
            return self._publisher.offer(payload)

        return Sent(self._thread, self._thread.call(offer()))

    def ask_owed(self, timeout: Optional[float] = None) -> int:
        """How many subscriptions select the topic now."""
        return self._thread.call(self._publisher.ask_owed(), timeout)

    def settled(self, timeout: Optional[float] = None) -> None:
        """Waits until everything that was sent is settled."""
        self._thread.call(self._publisher.settled(), timeout)

    def close(self, timeout: Optional[float] = None) -> None:
        """Closes it; see `tidings.client.publishing.Publisher.close`."""
        self._thread.call(self._publisher.close(), timeout)


class Subscription:
    """Messages whose topic a pattern selects; iterate over it, over `events()`, or ask by `next`."""

    def __init__(self, thread: _Thread, subscription: subscribing.Subscription) -> None:
        self._thread = thread
        self._subscription = subscription

    def __iter__(self) -> Iterator[Message]:
        for event in self.events():
            if isinstance(event, Message):
                yield event

    @property
    def pending(self) -> tuple[str, ...]:
        """Names of members that did not confirm the subscription yet when the daemon answered."""
        return self._subscription.pending

    @property
    def gaps(self) -> int:
        """Messages that will never come, as far as told."""
        return self._subscription.gaps

    def events(self) -> Iterator[Event]:
        """Messages, gaps and reconnections in their order. Ends when the subscription or the client is closed."""
        while True:
            try:
                event = self.next_event()
            except Closed:
                return
            yield event

    def next(self, timeout: Optional[float] = None) -> Message:
        """The next message. Raises `TimeoutError`, `Closed` at the end, or why the subscription ended."""
        message = self._thread.call(self._subscription.next(timeout))
        return dataclasses.replace(message, _subscription=self)

    def next_event(self, timeout: Optional[float] = None) -> Event:
        """The next message, gap or reconnection. Raises as `next` does."""
        event = self._thread.call(self._subscription.next_event(timeout))
        return dataclasses.replace(event, _subscription=self) if isinstance(event, Message) else event

    def unsubscribe(self, timeout: Optional[float] = None) -> None:
        """Ends the subscription for good, for a named client, too."""
        self._thread.call(self._subscription.unsubscribe(), timeout)

    def _ack(self, message: Message, *, up_to: bool) -> bool:
        async def ack() -> bool:
            return self._subscription._ack(message, up_to=up_to)

        return self._thread.call(ack())


class Watch:
    """Who is there; see `tidings.client.presence.Watch`."""

    def __init__(self, thread: _Thread, watch: presence.Watch) -> None:
        self._thread = thread
        self._watch = watch

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], _: Optional[TracebackType]) -> None:
        self.close()

    def __iter__(self) -> Iterator[Presence]:
        while True:
            try:
                event = self.next()
            except Closed:
                return
            yield event

    @property
    def members(self) -> dict[bytes, Presence]:
        """The latest of each member that did not leave or drop out, by node id."""
        return dict(self._watch.members)

    def next(self, timeout: Optional[float] = None) -> Presence:
        """The next member or change. Raises `TimeoutError`, `Closed` at the end, or why the watch ended."""
        return self._thread.call(self._watch.next(timeout))

    def close(self) -> None:
        """Ends the watch."""

        async def close() -> None:
            self._watch.close()

        self._thread.call(close())
