"""Bodies: runs of digests, and where each digest may stand (chapters 7 and 14)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Iterable, Optional

from ..errors import ProtocolError
from . import bulk, control, fan, hello, pair
from .codec import HEAD, Digest, read_head


class Place(Enum):
    """What a run of digests is the body of."""

    HELLO = "HELLO"
    PAIR = "PAIR"
    CHANNEL = "a channel"
    BULK = "BULK"
    FAN = "FAN"


_ALL: dict[Place, tuple[type[Digest], ...]] = {
    Place.HELLO: (hello.H1, hello.H2, hello.H3, hello.Cookie, hello.Beacon),
    Place.PAIR: (
        pair.Opened, pair.Ping, pair.Ack, pair.PingReq, pair.Nack, pair.Member, pair.Rumour, pair.Ctl, pair.CtlAck, pair.BulkAck,
        pair.FanAck, pair.FanBeat, pair.YouAreDead, pair.PathProbe, pair.PathAck,
    ),
    Place.CHANNEL: (
        control.StreamOpen, control.StreamReady, control.StreamClose, control.Delivered, control.Deferred, control.Resumed,
        control.Fetch, control.Fetched, control.Gap, control.TableAck, control.TableAsk, control.BucketAsk, bulk.Table, bulk.SubAdd,
        bulk.SubDel, bulk.TableEnd, bulk.Buckets, bulk.Retired, bulk.Backlog, bulk.Catchup, pair.Member, pair.Rumour,
    ),
    Place.BULK: (bulk.Bulk,),
    Place.FAN: (fan.Define, fan.Message, fan.Fragment),
}  # fmt: skip

KINDS: dict[int, type[Digest]] = {kind.KIND: kind for kinds in _ALL.values() for kind in kinds}
"""Every digest by its number."""


@dataclass(frozen=True)
class Body:
    """What was read of a run of digests."""

    digests: tuple[Digest, ...]
    unknown: int = 0
    """Digests of kinds that this version does not know, skipped."""
    misplaced: int = 0
    """Digests that have no business here, ignored."""
    malformed: Optional[ProtocolError] = None
    """Why the reading ended early, if it did. The digests before that stand."""


def decode_digest(digest: bytes) -> Digest:
    """Reads exactly the bytes of one digest of a known kind."""
    kind, _, _ = read_head(digest)
    if kind not in KINDS:
        raise ProtocolError(f"digest kind {kind:#04x} is not known")
    return KINDS[kind].decode(digest)


def read_body(body: bytes, place: Place) -> Body:
    """Reads a run of digests. Never raises: what is malformed ends the reading and is told in the result."""
    digests: list[Digest] = []
    unknown = misplaced = at = 0
    malformed: Optional[ProtocolError] = None
    try:
        while len(body) - at >= HEAD.size and body[at] != 0:
            kind, _, length = read_head(body[at:])
            after = -(-(at + length) // 8) * 8
            _check_zero(body[at + length : after])
            known = KINDS.get(kind)
            if known is None:
                unknown += 1
            elif known not in _ALL[place]:
                misplaced += 1
            else:
                digests.append(known.decode(body[at : at + length]))
            at = after
        _check_zero(body[at:])
    except ProtocolError as error:
        malformed = error
    return Body(tuple(digests), unknown, misplaced, malformed)


def write_body(digests: Iterable[Digest]) -> bytes:
    """The digests one after the other, each at a multiple of 8."""
    body = bytearray()
    for digest in digests:
        body += bytes(-len(body) % 8)
        body += digest.encode()
    return bytes(body)


def _check_zero(data: bytes) -> None:
    if any(data):
        raise ProtocolError("bytes between and after digests must be zero")
