"""Both sides of the handshake, without sockets and clocks (chapter 8).

    I -> R  H1      initiator.h1
    R -> I  H2      responder.answer(h1, source)
    I -> R  H3      initiator.take_h2(h2)
    R -> I  PAIR    responder.take_h3(h3, source)
                    initiator.take_opened(pair)
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field
from typing import Optional, Sequence, TypeVar

from ..errors import ProtocolError
from .body import Place, read_body, write_body
from .codec import NOBODY, Address, Digest
from .headers import COOKIE, H1 as KIND_H1, H2 as KIND_H2, H3 as KIND_H3, VERSION, HelloHeader, SessionHeader, read_header
from .hello import H1, H2, H3, Cookie, Introduction
from .keyring import Keyring
from .keys import TAG_BYTES, KeySchedule
from .pair import Opened
from .seal import SMALLEST_H1, SessionNames, open_hello, seal_hello
from .session import Session

_D = TypeVar("_D", bound=Digest)

INNER_INDEX = 0
DEFAULT_RCVBUF = 212_992


def _fresh_id() -> bytes:
    return os.urandom(16)


@dataclass(frozen=True)
class Node:
    """What a node says of itself in a handshake. A boot is new at each start; the generation grows with each."""

    id: bytes = field(default_factory=_fresh_id)
    boot: bytes = field(default_factory=_fresh_id)
    generation: int = 1
    link: int = 1
    rcvbuf: int = DEFAULT_RCVBUF
    steer: int = 0

    def caps(self) -> int:
        """The link number, in the high half."""
        return self.link << 32


class Initiator:
    """One try. `h1` and what `take_h2` returns are sent, and sent again, bit by bit the same."""

    def __init__(
        self, node: Node, overlay: bytes, keyring: Keyring, *, hs: int, rx_index: int, target: bytes = NOBODY, cookie: int = 0,
        addresses: Sequence[Address] = (),
    ) -> None:
        self.node = node
        self._overlay = overlay
        self._keyring = keyring
        self._schedule = KeySchedule(keyring.primary, overlay)
        self._cookie = cookie
        self._addresses = tuple(addresses)
        self._who = Introduction(
            VERSION, VERSION, node.steer, rx_index, node.rcvbuf, node.id, node.boot, os.urandom(16), target, hs, node.generation,
            node.caps(),
        )
        body = write_body([H1(self._who, self._addresses)])
        self.h1 = self._seal(KIND_H1, body.ljust(SMALLEST_H1 - HelloHeader.SIZE - TAG_BYTES, b"\0"))
        self._h3: Optional[bytes] = None
        self._session: Optional[Session] = None

    def take_h2(self, datagram: bytes) -> bytes:
        """The H3 that goes out for this H2. Raises `ProtocolError` if it does not answer this try, or another did before."""
        header, body = open_hello(self._overlay, self._keyring, datagram)
        h2 = _only(body, H2)
        if self._h3 is not None:
            raise ProtocolError("a second H2 for the same try")
        if header.slot != self._keyring.primary.slot:
            raise ProtocolError(f"an H2 under slot {header.slot}: the H1 went out under {self._keyring.primary.slot}")
        if h2.h1_hash != hashlib.sha256(self.h1).digest() or h2.nonce_i != self._who.nonce:
            raise ProtocolError("an H2 that answers another H1")
        if h2.ver != VERSION:
            raise ProtocolError(f"an H2 that chose version {h2.ver}: only {VERSION} was offered")
        if h2.id == self.node.id or self._who.target not in (NOBODY, h2.id):
            raise ProtocolError(f"an H2 of {h2.id.hex()}, which is not the node that was wanted")
        names = SessionNames(self.node.id, self.node.boot, h2.id, h2.boot, self._who.nonce, h2.nonce_r)
        session = Session(self._schedule, names, initiator=True, own_index=self._who.rx_index)
        h3 = H3(self._who, h2.id, h2.boot, h2.nonce_r, self._addresses, session.seal())
        self._h3 = self._seal(KIND_H3, write_body([h3]))
        self._session = session
        return self._h3

    def take_cookie(self, datagram: bytes) -> int:
        """The cookie for the next try. Raises `ProtocolError` if it is not for this one."""
        header, body = open_hello(self._overlay, self._keyring, datagram)
        cookie = _only(body, Cookie)
        if header.kind != COOKIE or cookie.nonce_i != self._who.nonce:
            raise ProtocolError("a COOKIE for another try")
        return cookie.cookie

    def take_opened(self, datagram: bytes) -> tuple[Session, tuple[Digest, ...]]:
        """The session, and the digests that came with OPENED. Any PAIR datagram then tells the responder that it is complete."""
        if self._session is None:
            raise ProtocolError("a PAIR datagram before an H2 came")
        digests = self._session.open(datagram).digests
        if not digests or not isinstance(digests[0], Opened):
            raise ProtocolError("the first PAIR datagram of a responder does not begin with OPENED")
        self._session.index, self._session.steer = digests[0].rx_index, digests[0].steer
        return self._session, digests[1:]

    def _seal(self, kind: int, body: bytes) -> bytes:
        return seal_hello(self._schedule, kind, os.urandom(32), body, cookie=self._cookie)


class Responder:
    """Answers H1s without keeping anything, and installs a session for an H3 that proves itself."""

    def __init__(self, node: Node, overlay: bytes, keyring: Keyring) -> None:
        self.node = node
        self._overlay = overlay
        self._keyring = keyring
        self._secrets = [os.urandom(32)]
        self._installed: dict[tuple[bytes, bytes], tuple[H3, Session]] = {}
        self._generations: dict[bytes, int] = {}

    def rotate(self) -> None:
        """Takes a new secret for nonces; to be called every 120 s. The previous one is accepted still."""
        self._secrets = [os.urandom(32), self._secrets[0]]

    def answer(self, datagram: bytes, source: Address) -> bytes:
        """The H2 for an H1. Raises `ProtocolError` for what is refused."""
        header, body = open_hello(self._overlay, self._keyring, datagram)
        h1 = _only(body, H1)
        who = h1.who
        self._check_initiator(who)
        if who.target not in (NOBODY, self.node.id):
            raise ProtocolError(f"an H1 for {who.target.hex()}")
        h1_hash = hashlib.sha256(datagram).digest()
        nonce_r = self._nonce(self._secrets[0], who, source)
        known = self._generations.get(who.id, 0)
        h2 = H2(VERSION, self.node.id, self.node.boot, who.nonce, nonce_r, h1_hash, known, 0)
        reply = seal_hello(self._schedule(header.slot), KIND_H2, os.urandom(32), write_body([h2]))
        if len(reply) > len(datagram):
            raise ProtocolError(f"an H1 of {len(datagram)} bytes is shorter than its answer of {len(reply)}")
        return reply

    def take_h3(self, datagram: bytes, source: Address, *, rx_index: int) -> tuple[Session, bytes, tuple[Digest, ...]]:
        """The session, the PAIR datagram to answer with, and the digests of the inner datagram.

        For an H3 that was taken before, the session is the same and the digests are none.
        """
        header, body = open_hello(self._overlay, self._keyring, datagram)
        h3 = _only(body, H3)
        who = h3.who
        if (h3.responder, h3.responder_boot) != (self.node.id, self.node.boot):
            raise ProtocolError("an H3 for another node or boot")
        self._check_initiator(who)
        if not any(hmac.compare_digest(h3.nonce_r, self._nonce(secret, who, source)) for secret in self._secrets):
            raise ProtocolError("an H3 with a nonce that was not given to this initiator at this address")
        key = (who.id, who.boot)
        held = self._installed.get(key)
        if held is not None and (held[0].who.hs, held[0].who.nonce, held[0].nonce_r) == (who.hs, who.nonce, h3.nonce_r):
            return held[1], held[1].seal([self._opened(held[1])]), ()
        if held is not None and who.hs <= held[0].who.hs:
            raise ProtocolError(f"an H3 with hs {who.hs}: {held[0].who.hs} is installed already")
        if who.generation == 0 or who.generation < self._generations.get(who.id, 0):
            raise ProtocolError(f"an H3 with generation {who.generation}: a higher one is known, or it is 0")
        names = SessionNames(who.id, who.boot, self.node.id, self.node.boot, who.nonce, h3.nonce_r)
        session = Session(self._schedule(header.slot), names, initiator=False, own_index=rx_index)
        inner_header = read_header(h3.inner)
        if not isinstance(inner_header, SessionHeader) or inner_header.counter != 0:
            raise ProtocolError("the inner datagram of an H3 is not PAIR at counter 0")
        inner = session.open(h3.inner, index=INNER_INDEX)
        session.index, session.steer = who.rx_index, who.steer
        self._installed[key] = (h3, session)
        self._generations[who.id] = who.generation
        return session, session.seal([self._opened(session)]), inner.digests

    def _schedule(self, slot: int) -> KeySchedule:
        return KeySchedule(self._keyring.record(slot), self._overlay)

    def _opened(self, session: Session) -> Opened:
        node = self.node
        return Opened(session.own_index, node.rcvbuf, node.steer, node.caps(), node.generation)

    def _nonce(self, secret: bytes, who: Introduction, source: Address) -> bytes:
        bound = who.id + who.boot + who.nonce + who.hs.to_bytes(8, "little") + source.encode()
        return hmac.digest(secret, bound, "sha256")[:16]

    def _check_initiator(self, who: Introduction) -> None:
        if not who.ver_min <= VERSION <= who.ver_max:
            raise ProtocolError(f"an initiator that speaks versions {who.ver_min} to {who.ver_max}, not {VERSION}")
        if who.id == self.node.id:
            raise ProtocolError("an initiator with this node's own id")


def _only(body: bytes, kind: type[_D]) -> _D:
    """The first digest of a HELLO body, of this kind."""
    read = read_body(body, Place.HELLO)
    first = read.digests[0] if read.digests else None
    if not isinstance(first, kind):
        raise ProtocolError(f"{first} where {kind.__name__} was expected")
    return first
