"""The client for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import random
from typing import TYPE_CHECKING, Any, Iterator, Optional, Union

from ..errors import (
    Busy, Closed, Denied, Disconnected, Fenced, Leaving, ProtocolError, RefusedProtocol, TidingsError, Unreachable, VersionMismatch,
    refusal,
)  # fmt: skip
from . import frames
from .connection import Connection
from .login import Login, default_socket
from .presence import Watch
from .publishing import Publisher
from .signal import Signal
from .subscribing import Options, Subscription
from .types import Ack, Order, Policy, Redelivery

if TYPE_CHECKING:
    from types import TracebackType

log = logging.getLogger("tidings")

Entity = Union[Publisher, Subscription, Watch]

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
"""Seconds between attempts to reconnect: the first, doubling to the longest."""

HELD_BYTES = 8 << 20
"""What may wait for the application before the client stops reading; the daemon keeps the rest."""

FINAL = (Denied, Fenced, VersionMismatch, ProtocolError, RefusedProtocol)
"""Ends of a connection after which another would fare no better."""

_PUBLISHER_KINDS = {frame.KIND for frame in (frames.Open, frames.Publish, frames.Close, frames.AskOwed)}
_SUBSCRIPTION_KINDS = {frame.KIND for frame in (frames.Subscribe, frames.Unsubscribe)}
_WATCH_KINDS = {frame.KIND for frame in (frames.Watch,)}
_QUESTION_KINDS = {frame.KIND for frame in (frames.Query, frames.Leave)}


class AsyncClient:
    """A client of the daemon on this host. All of its methods belong to one event loop.

    `socket`: the daemon's socket, by default where the daemon of this user listens. `name`: attach under this name; subscriptions
    outlive the connection then, for the daemon's `client_grace`. `secret`: 32 bytes that prove the name (see `load_secret`); needed
    unless the daemon runs under the same uid.

    A lost connection is made again for ever, with pauses of up to 5 s, and with it every publisher, subscription and watch. Only if
    the daemon denies the login, or another process took the name over (`Fenced`), the client ends.
    """

    def __init__(self, socket: Optional[str] = None, *, name: str = "", secret: Optional[bytes] = None) -> None:
        Login(name, secret)
        self.socket = socket or default_socket()
        self.name = name
        self.named = bool(name)
        self.changed = Signal()
        self._secret = secret
        self._connection: Optional[Connection] = None
        self._entities: dict[type[Any], dict[int, Any]] = {Publisher: {}, Subscription: {}, Watch: {}}
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._task: Optional[asyncio.Task[None]] = None
        self._error: Optional[TidingsError] = None
        self._awaiting = 0
        self._held = 0

    async def __aenter__(self) -> AsyncClient:
        return await self.connect()

    async def __aexit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], _: Optional[TracebackType]) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None

    @property
    def node(self) -> frames.Welcome:
        """What the daemon said of itself at the latest login. Raises `Disconnected` while there is no connection."""
        if self._connection is None:
            raise Disconnected(f"no connection to the daemon at {self.socket} now")
        return self._connection.welcome

    async def connect(self, patience: Optional[float] = 0.0) -> AsyncClient:
        """Makes the first connection. If no daemon answers, tries on for `patience` seconds (None: for ever).

        Raises `Unreachable`, or what the daemon refuses with.
        """
        if self._task is not None or self._error is not None:
            raise Closed("a client connects once: make another one")
        loop = asyncio.get_running_loop()
        deadline = None if patience is None else loop.time() + patience
        for pause in _pauses():
            try:
                connection = await self._open()
                break
            except (Unreachable, Busy, Leaving):
                if deadline is not None and loop.time() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
        self._attach(connection)
        self._task = asyncio.create_task(self._run(connection))
        return self

    async def close(self) -> None:
        """Closes the connection. Subscriptions of a named client stand on for a while; what was not acknowledged comes again."""
        connection, closed = self._connection, Closed("the client is closed")
        self._error = self._error or closed
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if connection is not None:
            connection.close()
            await connection.wait_closed()
        self._finish(closed)

    async def publisher(self, overlay: str, topic: str) -> Publisher:
        """Makes a publisher on a topic. Raises `NoOverlay`, `BadTopic`, `NotAllowed`, `TooMany`."""
        publisher = Publisher(self, next(self._numbers), overlay, topic)
        self._begin(publisher)
        try:
            with self.awaiting():
                while publisher._opened is None:
                    publisher._check(b"")
                    await self.changed.wait()
        except BaseException:
            publisher._end(Closed(f"the publisher of {topic} was not opened"))
            raise
        return publisher

    async def subscribe(
        self, overlay: str, pattern: str, *, ack: Ack = Ack.CLIENT, order: Order = Order.UNORDERED, policy: Policy = Policy.DETACH,
        redelivery: Optional[Redelivery] = None,
    ) -> Subscription:
        """Subscribes to a topic, a prefix as `orders.*`, or `*`.

        Returns when all members held alive have applied the subscription, after 2 s at most; `pending` names those that have not.
        `redelivery` is the overlay's unless it is given. Raises `NoOverlay`, `BadTopic`, `NotAllowed`, `TooMany`; `BadNumber` for a
        second subscription of a named client to the same pattern.
        """
        options = Options(Ack(ack), Order(order), Policy(policy), redelivery)
        subscription = Subscription(self, next(self._numbers), overlay, pattern, options)
        self._begin(subscription)
        try:
            await subscription._stand()
        except BaseException:
            if self._connection is not None and subscription._error is None:
                self._connection.send(frames.Unsubscribe(subscription.number))
            subscription._end(Closed(f"the subscription to {pattern} was given up"))
            raise
        return subscription

    async def watch(self, overlay: str) -> Watch:
        """Watches who is there, and returns when the first snapshot is complete. Raises `NoOverlay`, `NotAllowed`."""
        watch = Watch(self, next(self._numbers), overlay)
        self._begin(watch)
        try:
            await watch.ready()
        except BaseException:
            watch.close()
            raise
        return watch

    async def members(self, overlay: str) -> list[dict[str, Any]]:
        """Every member of an overlay, as the daemon's JSON tells it: `id`, `name`, `state`, `address`, `reached`, `self` and more."""
        answer = await self._ask(frames.Query(next(self._numbers), frames.Query.MEMBERS, overlay))
        return _list_of_objects("members", answer)

    async def overlays(self) -> list[dict[str, Any]]:
        """The overlays that the node runs and this client may see: `name`, `id`, `members`, `alive`, `synced` and more."""
        return _list_of_objects("overlays", await self._ask(frames.Query(next(self._numbers), frames.Query.OVERLAYS, "")))

    async def stats(self) -> dict[str, Any]:
        """The node's counters, as far as this client may see them."""
        return _object("stats", await self._ask(frames.Query(next(self._numbers), frames.Query.STATS, "")))

    async def node_info(self) -> dict[str, Any]:
        """What the node says of itself."""
        return _object("node", await self._ask(frames.Query(next(self._numbers), frames.Query.NODE, "")))

    async def leave(self, overlay: str = "") -> None:
        """Makes the node leave an overlay, or without one all, which stops the daemon."""
        # When the last overlay is left the connection ends instead of an answer.
        with contextlib.suppress(Leaving):
            await self._ask(frames.Leave(next(self._numbers), overlay))

    # What publishers, subscriptions and watches call.

    @contextlib.contextmanager
    def awaiting(self) -> Iterator[None]:
        """While an answer is awaited, the client goes on reading, however much waits for the application: it may stand behind it."""
        self._awaiting += 1
        self.changed.notify()
        try:
            yield
        finally:
            self._awaiting -= 1

    def held(self, size: int) -> None:
        """So many bytes more (or less) wait for the application."""
        before, self._held = self._held, self._held + size
        if before >= HELD_BYTES > self._held:
            self.changed.notify()

    def forget(self, entity: object) -> None:
        """The entity is not made again."""
        numbered = self._entities[type(entity)]
        number = getattr(entity, "number")
        if numbered.get(number) is entity:
            del numbered[number]

    # The life of connections.

    async def _open(self) -> Connection:
        return await Connection.open(self.socket, Login(self.name, self._secret), trust_anyone=self._secret is not None)

    async def _run(self, connection: Connection) -> None:
        try:
            while True:
                try:
                    await connection.run(self._take, self._room)
                except TidingsError as error:
                    reason = error
                finally:
                    connection.close()
                self._detach(reason)
                if isinstance(reason, FINAL):
                    raise reason
                connection = await self._reconnect(reason)
                if self._error is not None:  # `wait_for` of some versions of Python swallows a cancellation
                    connection.close()
                    return
                self._attach(connection)
        except TidingsError as error:
            log.error("the client of %s ends: %s", self.socket, error)
            self._finish(error)
        except Exception as error:
            log.exception("a fault of this package")
            self._finish(Disconnected(f"a fault of this package: {error!r}"))

    async def _reconnect(self, reason: TidingsError) -> Connection:
        log.warning("connection to %s lost: %s; connecting again", self.socket, reason)
        for pause in _pauses():
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            try:
                connection = await self._open()
            except FINAL:
                raise
            except TidingsError as error:
                log.info("not connected to %s yet: %s", self.socket, error)
            else:
                log.warning("connected to %s again", self.socket)
                return connection
        raise AssertionError("pauses never end")

    def _attach(self, connection: Connection) -> None:
        self._connection = connection
        for entity in self._all():
            entity._attach(connection)
        self.changed.notify()

    def _detach(self, reason: TidingsError) -> None:
        self._connection = None
        for entity in self._all():
            entity._detach(reason)
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(reason)
        self.changed.notify()

    def _finish(self, error: TidingsError) -> None:
        self._error = self._error or error
        self._detach(self._error)
        for entity in self._all():
            entity._end(self._error)

    def _begin(self, entity: Entity) -> None:
        if self._error is not None:
            raise self._error
        if self._task is None:
            raise Disconnected("the client is not connected yet: call `connect`, or use it in `async with`")
        self._entities[type(entity)][entity.number] = entity
        if self._connection is not None:
            entity._attach(self._connection)

    def _all(self) -> list[Entity]:
        return [entity for numbered in self._entities.values() for entity in list(numbered.values())]

    async def _room(self) -> None:
        while self._held >= HELD_BYTES and not self._awaiting:
            await self.changed.wait()

    async def _ask(self, question: frames.Query | frames.Leave) -> Any:
        while self._connection is None:
            if self._error is not None:
                raise self._error
            if self._task is None:
                raise Disconnected("the client is not connected yet: call `connect`, or use it in `async with`")
            await self.changed.wait()
        answer = self._answers[question.request] = asyncio.get_running_loop().create_future()
        self._connection.send(question)
        try:
            with self.awaiting():
                return await answer
        finally:
            self._answers.pop(question.request, None)

    # Frames of the daemon.

    def _take(self, frame: frames.Frame) -> None:
        if isinstance(frame, frames.Error):
            self._take_error(frame)
        elif isinstance(frame, frames.Answer):
            answer = self._answers.get(frame.request)
            if answer is not None and not answer.done():
                try:
                    answer.set_result(json.loads(frame.json))
                except (ValueError, RecursionError) as error:
                    answer.set_exception(ProtocolError(f"the daemon's answer is not JSON: {error}"))
        elif isinstance(frame, frames.Credit) and frame.publisher == frames.CONNECTION:
            if self._connection is not None:
                self._connection.credit = max(self._connection.credit, frame.credit)
            self.changed.notify()
        else:
            entity = self._entity(frame)
            if entity is not None:
                entity._take(frame)

    def _entity(self, frame: frames.Frame) -> Optional[Entity]:
        """Whom a frame is for; None if that ended meanwhile."""
        for kind, field in ((Publisher, "publisher"), (Subscription, "sub"), (Watch, "watch")):
            number = getattr(frame, field, None)
            if number is not None:
                entity: Optional[Entity] = self._entities[kind].get(number)
                return entity
        raise ProtocolError(f"{type(frame).__name__} from the daemon in the middle of a session")

    def _take_error(self, frame: frames.Error) -> None:
        error = refusal(frame.code, frame.sentence)
        for kinds, kind in ((_PUBLISHER_KINDS, Publisher), (_SUBSCRIPTION_KINDS, Subscription), (_WATCH_KINDS, Watch)):
            if frame.refused in kinds:
                entity = self._entities[kind].get(frame.number)
                if entity is not None:
                    entity._end(error)
                    return
        if frame.refused in _QUESTION_KINDS and frame.number in self._answers:
            answer = self._answers[frame.number]
            if not answer.done():
                answer.set_exception(error)
            return
        log.warning("the daemon refuses a frame of kind %#04x: %s", frame.refused, frame.sentence)


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)


def _object(what: str, answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise ProtocolError(f"the daemon's answer on {what} is {type(answer).__name__}, not an object")
    return answer


def _list_of_objects(what: str, answer: Any) -> list[dict[str, Any]]:
    if not isinstance(answer, list):
        raise ProtocolError(f"the daemon's answer on {what} is {type(answer).__name__}, not a list")
    return [_object(what, element) for element in answer]
