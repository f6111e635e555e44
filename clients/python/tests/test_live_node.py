"""This implementation of the wire as a node among real ones: over UDP, with handshake, stream, delivery and refusals."""

from __future__ import annotations

import socket
import time
import unittest
from typing import Callable, Iterator

from daemon import OVERLAY, Hosts, live

from tidings import Client
from tidings.errors import ProtocolError
from tidings.wire import bulk, control, fan, pair
from tidings.wire.body import Place, read_body, write_body
from tidings.wire.codec import Address, Digest
from tidings.wire.handshake import Initiator, Node, Responder
from tidings.wire.hashes import overlay_id, overlay_tag, steer
from tidings.wire.headers import BULK, FanHeader
from tidings.wire.hello import H1, H3
from tidings.wire.keyring import Keyring
from tidings.wire.keys import KeySchedule
from tidings.wire.seal import open_hello, stream_direction
from tidings.wire.session import Session

SESSION = 0x1122334455667788


class Peer:
    """As much of a node as it takes to be one peer's peer: acknowledges what comes, answers probes, remembers digests."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.overlay = overlay_id(OVERLAY)
        self.schedule = KeySchedule(keyring.primary, self.overlay)
        self.node = Node()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.1)
        self.seen: list[Digest] = []
        self.session: Session
        self.to: tuple[str, int]
        self._floors = {pair.Ctl: 0, bulk.Bulk: 0}
        self._chunks = 0

    def receive(self, seconds: float = 30) -> Iterator[tuple[bytes, tuple[str, int]]]:
        """Datagrams until the time is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                yield self.socket.recvfrom(65535)
            except TimeoutError:
                continue

    def connect(self, port: int) -> None:
        """Opens a session as the initiator."""
        self.to = ("127.0.0.1", port)
        initiator = Initiator(self.node, self.overlay, self.keyring, hs=1, rx_index=5)
        self.socket.sendto(initiator.h1, self.to)
        for datagram, _ in self.receive():
            try:
                self.socket.sendto(initiator.take_h2(datagram), self.to)
            except ProtocolError:
                self.session, digests = initiator.take_opened(datagram)
                self.seen += digests
                break

    def accept(self) -> None:
        """Waits for an initiator, and opens a session as the responder."""
        responder = Responder(self.node, self.overlay, self.keyring)
        for datagram, source in self.receive():
            address = Address.parse(*source)
            _, body = open_hello(self.overlay, self.keyring, datagram)
            first = read_body(body, Place.HELLO).digests[0]
            if isinstance(first, H1):
                self.socket.sendto(responder.answer(datagram, address), source)
            elif isinstance(first, H3):
                self.to = source
                self.session, opened, digests = responder.take_h3(datagram, address, rx_index=9)
                self.seen += digests
                self.socket.sendto(opened, source)
                break

    def introduce(self) -> None:
        """Sends the own member record."""
        slot = self.keyring.primary.slot
        address = Address.parse(*self.socket.getsockname())
        member = pair.Member(0, self.node.id, self.node.boot, 1, 1, 0, 1, 1, 1 << slot, slot, "python", "", (address,))
        self.send(member)

    def send(self, *digests: Digest) -> None:
        self.socket.sendto(self.session.seal(digests), self.to)

    def send_ctl(self, *digests: Digest) -> None:
        self.send(pair.Ctl(self._chunks, write_body(digests)))
        self._chunks += 1

    def wait(self, wanted: Callable[[Digest], bool], seconds: float = 30) -> Digest:
        """Serves the peer until such a digest came."""
        for digest in self.seen:
            if wanted(digest):
                return digest
        for datagram, _ in self.receive(seconds):
            replies: list[Digest] = []
            for digest in self._open(datagram):
                self.seen.append(digest)
                if isinstance(digest, pair.Ping):
                    replies.append(pair.Ack(digest.no))
                elif isinstance(digest, (pair.Ctl, bulk.Bulk)):
                    self._take_chunk(digest)
                    floor = self._floors[type(digest)]
                    replies.append(pair.CtlAck(floor, 0) if isinstance(digest, pair.Ctl) else pair.BulkAck(floor, 0, 0))
            if replies:
                self.send(*replies)
            for digest in self.seen:
                if wanted(digest):
                    return digest
        raise AssertionError(f"did not come in {seconds} s; there came {[type(digest).__name__ for digest in self.seen]}")

    def _open(self, datagram: bytes) -> tuple[Digest, ...]:
        try:
            return self.session.open(datagram).digests
        except ProtocolError:
            return ()  # a repeated H1 or H3

    def _take_chunk(self, chunk: pair.Ctl | bulk.Bulk) -> None:
        if chunk.seq == self._floors[type(chunk)]:
            self._floors[type(chunk)] += 1
            self.seen += read_body(chunk.content, Place.CHANNEL).digests


@live
class LiveNode(unittest.TestCase):
    def setUp(self) -> None:
        self.hosts = Hosts(self)
        self.peer = Peer(Keyring.load(self.hosts.key))
        self.addCleanup(self.peer.socket.close)

    def answers_ping(self, no: int) -> None:
        self.peer.send(pair.Ping(no, self.other()))
        self.peer.wait(lambda digest: digest == pair.Ack(no))

    def other(self) -> bytes:
        names = self.peer.session.names
        return names.responder if names.initiator == self.peer.node.id else names.initiator

    def test_a_daemon_answers_the_handshake(self) -> None:
        self.peer.connect(self.hosts.start().port)
        self.answers_ping(1)

    def test_a_daemon_joins_through_this_implementation(self) -> None:
        self.hosts.start(join=(self.peer.socket.getsockname()[1],))
        self.peer.accept()
        self.answers_ping(1)

    def test_a_wrong_key_gets_no_answer(self) -> None:
        port = self.hosts.start().port
        keyring = Keyring.parse("tidings-keyring 1\n0 aes-256-gcm primary " + "00" * 32)
        stranger = Initiator(Node(), self.peer.overlay, keyring, hs=1, rx_index=1)
        self.peer.socket.sendto(stranger.h1, ("127.0.0.1", port))
        self.assertEqual(list(self.peer.receive(0.5)), [])

    def test_a_digest_before_malformed_bytes_stands(self) -> None:
        self.peer.connect(self.hosts.start().port)
        self.peer.send(_Raw(pair.Ping(1, self.other()).encode() + bytes(9) + b"\1"))
        self.peer.wait(lambda digest: digest == pair.Ack(1))
        longer = bytearray(pair.Ping(2, self.other()).encode() + bytes(8))
        longer[2], longer[-1] = 25, 1  # one byte more than is known, then padding that is not zero
        self.peer.send(_Raw(bytes(longer) + pair.Ping(3, self.other()).encode()))
        self.answers_ping(4)
        self.assertNotIn(pair.Ack(2), self.peer.seen)
        self.assertNotIn(pair.Ack(3), self.peer.seen)

    def test_a_bulk_datagram(self) -> None:
        self.peer.connect(self.hosts.start().port)
        self.peer.introduce()
        chunk = write_body([control.BucketAsk(b"\xff" * 32)])
        self.peer.socket.sendto(self.peer.session.seal([bulk.Bulk(0, chunk)], BULK), self.peer.to)
        self.peer.wait(lambda digest: isinstance(digest, pair.BulkAck) and digest.floor == 1)

    def test_a_message_on_a_stream_is_delivered(self) -> None:
        self.stream_to_a_subscriber(first_counter=7)

    def test_counters_whose_epoch_needs_more_than_32_bits(self) -> None:
        self.stream_to_a_subscriber(first_counter=(3 << 58) + (5 << 26) + 3)

    def stream_to_a_subscriber(self, first_counter: int) -> None:
        daemon = self.hosts.start()
        with Client(socket=daemon.socket) as client:
            subscription = client.subscribe(OVERLAY, "from.python.*")
            self.peer.connect(daemon.port)
            self.peer.introduce()
            key = self.peer.keyring.primary
            self.peer.send_ctl(control.StreamOpen(1200, SESSION, first_counter, key.slot, key.suite, 0))
            ready = self.peer.wait(lambda digest: isinstance(digest, control.StreamReady))
            self.assertEqual(ready, control.StreamReady(0, SESSION))
            node = self.peer.node
            stream = stream_direction(self.peer.schedule, node.id, node.boot, SESSION)
            steer_byte, tag = steer(self.peer.overlay), overlay_tag(self.peer.overlay)[:4]
            header = FanHeader(key.suite, key.slot, steer_byte, tag, first_counter, SESSION)
            records = [fan.Define(1, 0, "from.python.here"), fan.Message(1, b"one"), fan.Message(1, b"two")]
            self.peer.socket.sendto(stream.seal(header, write_body(records)), self.peer.to)
            messages = [subscription.next(timeout=30) for _ in range(2)]
            self.assertEqual([(m.payload, m.seq, m.node, m.topic) for m in messages],
                             [(b"one", 0, node.id, "from.python.here"), (b"two", 1, node.id, "from.python.here")])
            acked = self.peer.wait(lambda digest: isinstance(digest, pair.FanAck))
            self.assertEqual(acked.floor, first_counter + 1)
            for message in messages:
                message.ack()
            delivered = self.peer.wait(lambda digest: isinstance(digest, control.Delivered))
            self.assertEqual((delivered.handle, delivered.first, delivered.result), (1, 0, 0))


class _Raw(pair.Ack):
    """Bytes that stand for a digest, to write what no digest would."""

    def __init__(self, raw: bytes) -> None:
        object.__setattr__(self, "raw", raw)

    def encode(self) -> bytes:
        return self.raw


if __name__ == "__main__":
    unittest.main()
