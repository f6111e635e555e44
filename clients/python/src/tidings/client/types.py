"""What a user of the client gives and gets: options, messages, outcomes, presence."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Optional, Protocol, Union

from ..wire.codec import Address

if TYPE_CHECKING:
    from .connection import Connection

    class Subscription(Protocol):
        """What acknowledges a message."""

        def _ack(self, message: Message, *, up_to: bool) -> bool: ...


class Ack(IntEnum):
    """Who acknowledges a message, and thereby makes it delivered."""

    CLIENT = 0
    """The application, by `Message.ack`."""
    NODE = 1
    """The node, when it has queued the message for the client."""


class Order(IntEnum):
    """In which order a subscription sees the messages of one publisher. There is no order across publishers."""

    UNORDERED = 0
    """As they arrive."""
    ORDERED = 1
    """With increasing numbers; every hole is told as a `Gap`."""


class Policy(IntEnum):
    """What becomes of messages while the client takes nothing."""

    DETACH = 0
    """Everything waits with its publishers, whose store alone bounds it."""
    DROP_OLDEST = 1
    """Of each publisher the newest wait; older ones are refused."""
    DROP_NEWEST = 2
    """What finds no room is refused."""
    BLOCK = 3
    """Its publishers wait."""


@dataclass(frozen=True)
class Redelivery:
    """How long a publisher's node tries: `attempts` (0: without end), each `every` seconds long."""

    attempts: int
    every: float

    @property
    def every_ms(self) -> int:
        """The period on the wire."""
        return round(self.every * 1000)

    def __post_init__(self) -> None:
        if not 0 <= self.attempts < 2**32 or not 1 <= self.every_ms < 2**32:
            raise ValueError(f"{self.attempts} attempts of {self.every} s: 0 or more, each at least 0.001 s long")


class Result(IntEnum):
    """What became of a message at a subscription, and why a gap is one."""

    DELIVERED = 0
    MAX_ATTEMPTS = 1
    """Its attempts are used up."""
    NODE_DEAD = 2
    """The subscriber's node is dead and not waited for."""
    UNSUBSCRIBED = 3
    """The subscription ended."""
    EXPIRED = 4
    """Parked for too long."""
    OVERFLOW = 5
    """The publisher's store was full."""
    REJECTED = 6
    """Dropped by the subscription's policy."""
    LEFT = 7
    """The subscriber's node left."""
    TOO_LARGE = 8
    """Larger than the subscriber takes."""
    UNKNOWN = 255
    """The daemon was lost, or the publisher closed, before it told."""


def result_of(number: int) -> Union[Result, int]:
    """The result with this number; the plain number if it is of a later version."""
    try:
        return Result(number)
    except ValueError:
        return number


@dataclass(frozen=True)
class Outcome:
    """What became of one message at one subscription. `sub` is unique within `node`; both are None with `Result.UNKNOWN`."""

    result: Union[Result, int]
    node: Optional[bytes] = None
    sub: Optional[int] = None

    @property
    def delivered(self) -> bool:
        """Whether the subscriber, or with `Ack.NODE` its node, has it."""
        return self.result is Result.DELIVERED


@dataclass(frozen=True)
class Message:
    """One message. Its id is (`node`, `boot`, `handle`, `seq`); the first three name the publisher, `seq` counts from 0."""

    topic: str
    payload: bytes
    again: bool
    """An earlier session may have seen it."""
    seq: int
    handle: int
    node: bytes = field(repr=False)
    boot: bytes = field(repr=False)
    _subscription: Subscription = field(repr=False, compare=False)
    _connection: Connection = field(repr=False, compare=False)

    @property
    def publisher(self) -> tuple[bytes, bytes, int]:
        """Node, boot and handle: who published it."""
        return self.node, self.boot, self.handle

    def ack(self) -> bool:
        """Acknowledges this message. Never waits.

        Returns False if the connection that brought it is gone: it comes again then, flagged `again`. With `Ack.NODE` there is
        nothing to do, and it returns True.
        """
        return self._subscription._ack(self, up_to=False)

    def ack_up_to(self) -> bool:
        """Acknowledges this and every earlier message of its publisher. Only for ordered subscriptions; else raises `ValueError`."""
        return self._subscription._ack(self, up_to=True)


@dataclass(frozen=True)
class Gap:
    """`count` messages of a publisher, from `seq` on, will never come. `topic` is empty if it is not known."""

    seq: int
    count: int
    reason: Union[Result, int]
    topic: str
    handle: int
    node: bytes = field(repr=False)
    boot: bytes = field(repr=False)


@dataclass(frozen=True)
class Reconnected:
    """The connection was lost and is back, and the subscription was made again.

    Of a named client the subscription went on meanwhile, for the daemon's `client_grace`: what was not acknowledged comes again. Of
    an unnamed client it is a new one (`continued` is False), and what was published meanwhile is not owed to it.
    """

    continued: bool
    new_boot: bool
    """The daemon was restarted."""
    reason: str


Event = Union[Message, Gap, Reconnected]
"""What a subscription tells."""


class Change(IntEnum):
    """What became of a member; in a snapshot, how it stands: in, in quarantine (suspect), unreachable (held dead) or out (left)."""

    MEMBER_IN = 1
    MEMBER_QUARANTINE = 2
    MEMBER_UNREACHABLE = 3
    MEMBER_REJOIN = 4
    MEMBER_DROP = 5
    MEMBER_OUT = 6


@dataclass(frozen=True)
class Presence:
    """A member of an overlay, and what became of it."""

    change: Union[Change, int]
    node: bytes
    name: str
    address: Address
    metadata: bytes
    snapshot: bool
    """It belongs to the picture that a watch begins with, and not to a change."""
    itself: bool
    """It is the daemon's own node."""
    reached: bool
    """The daemon has heard it, and not only of it."""
