"""Every frame of the local client protocol, version 1 (chapter 16)."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ProtocolError
from .framing import Frame

VERSION = 1
CONNECTION = 0xFFFF_FFFF
"""CREDIT of the whole connection; ERROR that names no number."""


@dataclass(frozen=True)
class Hello(Frame):
    """The client's first word. Without PROVE it is admitted by its uid."""

    KIND = 0x01
    FIXED = "version_min:H version_max:H nonce:32s name.len:B :3x"
    TAILS = {"name": "text"}
    PROVE = 1

    version_min: int
    version_max: int
    nonce: bytes
    name: str


@dataclass(frozen=True)
class Proof(Frame):
    """The client knows the secret."""

    KIND = 0x02
    FIXED = "proof:32s"

    proof: bytes


@dataclass(frozen=True)
class Challenge(Frame):
    """The daemon knows the secret, and asks for the client's proof."""

    KIND = 0x81
    FIXED = "node:16s boot:16s nonce:32s proof:32s"

    node: bytes
    boot: bytes
    nonce: bytes
    proof: bytes


@dataclass(frozen=True)
class Welcome(Frame):
    """The session stands. `credit` is the connection's, in bytes of PUBLISH frames."""

    KIND = 0x82
    FIXED = "version:H name.len:B :x max_frame:I node:16s boot:16s session_epoch:Q credit:Q"
    TAILS = {"name": "text"}

    version: int
    max_frame: int
    node: bytes
    boot: bytes
    session_epoch: int
    credit: int
    name: str


@dataclass(frozen=True)
class Error(Frame):
    """The daemon refuses a frame, or with FATAL the connection."""

    KIND = 0x83
    FIXED = "code:H refused:B :x number:I"
    TAILS = {"sentence": "rest"}
    FATAL = 1

    code: int
    refused: int
    number: int
    sentence: str


@dataclass(frozen=True)
class Subscribe(Frame):
    """Makes or continues a subscription."""

    KIND = 0x10
    FIXED = "sub:I ack:B order:B policy:B overlay.len:B attempts:I every_ms:I pattern.len:B :3x"
    TAILS = {"overlay": "text", "pattern": "text"}

    sub: int
    ack: int
    order: int
    policy: int
    attempts: int
    every_ms: int
    overlay: str
    pattern: str


@dataclass(frozen=True)
class Subscribed(Frame):
    """The subscription stands everywhere, or with PARTIAL everywhere but at `pending`."""

    KIND = 0x90
    FIXED = "sub:I node_sub:I pending.len:H :2x"
    TAILS = {"pending": "names"}
    PARTIAL = 1

    sub: int
    node_sub: int
    pending: tuple[str, ...]


@dataclass(frozen=True)
class Unsubscribe(Frame):
    """Ends a subscription for good."""

    KIND = 0x11
    FIXED = "sub:I"

    sub: int


@dataclass(frozen=True)
class Unsubscribed(Frame):
    """Answers UNSUBSCRIBE."""

    KIND = 0x91
    FIXED = "sub:I"

    sub: int


@dataclass(frozen=True)
class Deliver(Frame):
    """Messages of one publisher, numbered from `seq` on."""

    KIND = 0x92
    FIXED = "sub:I handle:I node:16s boot:16s seq:Q payloads.len:I topic.len:B :3x"
    TAILS = {"topic": "text", "payloads": "records"}
    AGAIN = 1

    sub: int
    handle: int
    node: bytes
    boot: bytes
    seq: int
    topic: str
    payloads: tuple[bytes, ...]


@dataclass(frozen=True)
class Ack(Frame):
    """Acknowledges `first` to `last`, both included; with `first` 0 all that was delivered up to `last`."""

    KIND = 0x12
    FIXED = "sub:I handle:I node:16s boot:16s first:Q last:Q session_epoch:Q"

    sub: int
    handle: int
    node: bytes
    boot: bytes
    first: int
    last: int
    session_epoch: int


@dataclass(frozen=True)
class Gap(Frame):
    """`count` messages from `first` on will never come."""

    KIND = 0x93
    FIXED = "sub:I handle:I node:16s boot:16s first:Q count:Q reason:I topic.len:B :3x"
    TAILS = {"topic": "text"}

    sub: int
    handle: int
    node: bytes
    boot: bytes
    first: int
    count: int
    reason: int
    topic: str


@dataclass(frozen=True)
class Open(Frame):
    """Makes a publisher."""

    KIND = 0x20
    FIXED = "publisher:I overlay.len:B topic.len:B :2x"
    TAILS = {"overlay": "text", "topic": "text"}

    publisher: int
    overlay: str
    topic: str


@dataclass(frozen=True)
class Opened(Frame):
    """The publisher stands. `owed` subscriptions select its topic now."""

    KIND = 0xA0
    FIXED = "publisher:I handle:I max_message:I owed:I credit:Q"

    publisher: int
    handle: int
    max_message: int
    owed: int
    credit: int


@dataclass(frozen=True)
class Close(Frame):
    """No PUBLISH follows."""

    KIND = 0x21
    FIXED = "publisher:I"

    publisher: int


@dataclass(frozen=True)
class Closed(Frame):
    """Answers CLOSE, after all outcomes that this connection will hear."""

    KIND = 0xA1
    FIXED = "publisher:I"

    publisher: int


@dataclass(frozen=True)
class Publish(Frame):
    """Messages."""

    KIND = 0x22
    FIXED = "publisher:I payloads.len:I"
    TAILS = {"payloads": "records"}

    publisher: int
    payloads: tuple[bytes, ...]


@dataclass(frozen=True)
class Accepted(Frame):
    """`count` messages from `first` on are stored and owed to `owed` subscriptions each."""

    KIND = 0xA2
    FIXED = "publisher:I owed:I first:Q count:I :4x"
    UNSYNCED = 1

    publisher: int
    owed: int
    first: int
    count: int


@dataclass(frozen=True)
class Outcome(Frame):
    """What became of `count` messages from `first` on at one subscription."""

    KIND = 0xA3
    FIXED = "publisher:I sub:I node:16s first:Q count:I result:I"

    publisher: int
    sub: int
    node: bytes
    first: int
    count: int
    result: int


@dataclass(frozen=True)
class Credit(Frame):
    """Raises the limit of a publisher, or of the connection."""

    KIND = 0xA4
    FIXED = "publisher:I :4x credit:Q"

    publisher: int
    credit: int


@dataclass(frozen=True)
class AskOwed(Frame):
    """Asks how many subscriptions select the publisher's topic."""

    KIND = 0x23
    FIXED = "publisher:I"

    publisher: int


@dataclass(frozen=True)
class Owed(Frame):
    """Answers ASK_OWED."""

    KIND = 0xA5
    FIXED = "publisher:I owed:I"

    publisher: int
    owed: int


@dataclass(frozen=True)
class Watch(Frame):
    """Asks for the members of an overlay and every change."""

    KIND = 0x30
    FIXED = "watch:I overlay.len:B :3x"
    TAILS = {"overlay": "text"}

    watch: int
    overlay: str


@dataclass(frozen=True)
class Unwatch(Frame):
    """Ends a watch."""

    KIND = 0x31
    FIXED = "watch:I"

    watch: int


@dataclass(frozen=True)
class Presence(Frame):
    """A member, or what became of it."""

    KIND = 0xB0
    FIXED = "watch:I change:B name.len:B metadata.len:H node:16s ip:16s port:H :2x"
    TAILS = {"name": "text", "metadata": "bytes"}
    SNAPSHOT, END, SELF, REACHED = 1, 2, 4, 8

    watch: int
    change: int
    node: bytes
    ip: bytes
    port: int
    name: str
    metadata: bytes


@dataclass(frozen=True)
class Query(Frame):
    """A question; `what` is one of the numbers below."""

    KIND = 0x32
    FIXED = "request:I what:B overlay.len:B :2x"
    TAILS = {"overlay": "text"}
    MEMBERS, OVERLAYS, STATS, NODE = 1, 2, 3, 4

    request: int
    what: int
    overlay: str


@dataclass(frozen=True)
class Leave(Frame):
    """Asks the node to leave an overlay, or without one all, which stops the daemon."""

    KIND = 0x33
    FIXED = "request:I overlay.len:B :3x"
    TAILS = {"overlay": "text"}

    request: int
    overlay: str


@dataclass(frozen=True)
class Answer(Frame):
    """Answers QUERY and LEAVE."""

    KIND = 0xB2
    FIXED = "request:I"
    TAILS = {"json": "rest"}

    request: int
    json: str


KINDS: dict[int, type[Frame]] = {
    kind.KIND: kind
    for kind in (
        Hello, Proof, Challenge, Welcome, Error, Subscribe, Subscribed, Unsubscribe, Unsubscribed, Deliver, Ack, Gap, Open, Opened,
        Close, Closed, Publish, Accepted, Outcome, Credit, AskOwed, Owed, Watch, Unwatch, Presence, Query, Leave, Answer,
    )
}  # fmt: skip


def decode_frame(kind: int, flags: int, body: bytes) -> Frame:
    """The frame with this head and body. Raises `ProtocolError` for what is malformed, and for kinds that are not known."""
    known = KINDS.get(kind)
    if known is None:
        raise ProtocolError(f"frame kind {kind:#04x} is not known")
    return known.decode(flags, body)
