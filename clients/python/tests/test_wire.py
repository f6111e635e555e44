"""Windows, keyring, topics, strictness of headers and bodies, and the handshake between both sides of this implementation."""

from __future__ import annotations

import random
import struct
import unittest

import vectors  # puts the package on the path

from tidings.errors import ProtocolError
from tidings.wire import pair
from tidings.wire.body import Place, read_body, write_body
from tidings.wire.codec import Address
from tidings.wire.fan import Define, Message, numbered
from tidings.wire.handshake import Initiator, Node, Responder
from tidings.wire.hashes import overlay_id
from tidings.wire.headers import read_header
from tidings.wire.hello import Beacon, Cookie
from tidings.wire.keyring import Keyring
from tidings.wire.keys import KeySchedule, Record, Suite
from tidings.wire.seal import seal_hello
from tidings.wire.siphash import siphash
from tidings.wire.topics import check_pattern, check_topic, selects
from tidings.wire.window import FAN_WINDOW, PAIR_WINDOW, SessionWindow, StreamWindow, Verdict
from tidings.wire.xxh3 import MAX_INPUT, xxh3

EPOCH = 1 << 26


class Hashes(unittest.TestCase):
    def test_siphash_of_its_authors(self) -> None:
        self.assertEqual(siphash(bytes(range(16)), bytes(range(15))), 0xA129CA6149BE45E5)

    def test_xxh3_of_its_authors(self) -> None:
        data, generator = bytearray(), 2654435761
        for _ in range(MAX_INPUT):
            data.append(generator >> 56)
            generator = generator * 11400714785074694797 & (1 << 64) - 1
        for size, expected in (
            (0, 0x2D06800538D394C2), (1, 0xC44BDFF4074EECDB), (6, 0x27B56A84CD2D7325), (12, 0xA713DAF0DFBB77E7),
            (24, 0xA3FE70BF9D3510EB), (48, 0x397DA259ECBA1F11),
        ):  # fmt: skip
            self.assertEqual(xxh3(bytes(data[:size])), expected, size)
        self.assertRaises(ValueError, xxh3, bytes(MAX_INPUT + 1))


class SessionWindows(unittest.TestCase):
    def test_against_a_plain_model(self) -> None:
        chance = random.Random(1)
        for _ in range(20):
            window, marked = SessionWindow(PAIR_WINDOW), set()
            base = chance.choice([0, EPOCH - 1000, 5000])
            for _ in range(2000):
                counter = max(0, base + chance.randrange(-3000, 3000))
                highest = max(marked, default=-1)
                if marked and counter + PAIR_WINDOW <= highest:
                    expected = Verdict.STALE
                elif counter in marked:
                    expected = Verdict.DUPLICATE
                else:
                    expected = Verdict.NEW
                self.assertIs(window.judge(counter), expected)
                if expected is Verdict.NEW and chance.random() < 0.8:
                    window.mark(counter)
                    marked.add(counter)
                base += chance.randrange(0, 20)

    def test_epochs(self) -> None:
        window = SessionWindow(PAIR_WINDOW)
        self.assertIs(window.judge(2 * EPOCH), Verdict.REFUSED)
        self.assertIs(window.judge(2 * EPOCH - 1), Verdict.NEW)
        window.mark(2 * EPOCH - 1)
        self.assertIs(window.judge(3 * EPOCH - 1), Verdict.NEW)
        self.assertIs(window.judge(3 * EPOCH), Verdict.REFUSED)
        self.assertIs(window.judge(EPOCH), Verdict.STALE)
        self.assertIs(window.judge(1 << 60), Verdict.REFUSED)

    def test_nothing_is_new_twice(self) -> None:
        window = SessionWindow(PAIR_WINDOW)
        for counter in (0, 5, 3, 4000, 1952 + 1, EPOCH):
            self.assertIs(window.judge(counter), Verdict.NEW)
            window.mark(counter)
            self.assertIn(window.judge(counter), (Verdict.DUPLICATE, Verdict.STALE))


class StreamWindows(unittest.TestCase):
    def test_against_a_plain_model(self) -> None:
        chance = random.Random(2)
        for _ in range(10):
            opened = floor = chance.randrange(0, 20000)
            window, marked = StreamWindow(floor), set()
            for _ in range(3000):
                if chance.random() < 0.002:
                    opened = max(opened, floor + chance.randrange(-50, 500))
                    floor = max(floor, opened)
                    window.raise_floor(opened)
                counter = max(0, floor + chance.randrange(-9000, 9000) if chance.random() < 0.1 else floor + chance.randrange(-5, 5))
                highest = max(marked, default=-1)
                while floor in marked:
                    floor += 1
                self.assertEqual(window.floor, floor)
                if counter < opened or counter + FAN_WINDOW < highest + 1:
                    expected = Verdict.STALE
                elif counter >= floor + FAN_WINDOW:
                    expected = Verdict.AHEAD
                elif counter < floor or counter in marked:
                    expected = Verdict.DUPLICATE
                else:
                    expected = Verdict.NEW
                self.assertIs(window.judge(counter), expected)
                if expected is Verdict.NEW:
                    window.mark(counter)
                    marked.add(counter)
                    while floor in marked:
                        floor += 1


KEY = "ab" * 32


class Keyrings(unittest.TestCase):
    def test_a_file_and_back(self) -> None:
        text = f"tidings-keyring 1\n\n  # comment\n3 aes-128-gcm installed {KEY}  # old\n\t0 chacha20-poly1305\tprimary {KEY.upper()}\n"
        keyring = Keyring.parse(text)
        self.assertEqual([record.slot for record in keyring.records], [3, 0])
        self.assertEqual(keyring.primary, Record(0, Suite.CHACHA20_POLY1305, bytes.fromhex(KEY)))
        self.assertEqual(Keyring.parse(keyring.format()), keyring)
        self.assertNotIn(KEY[:16], repr(keyring))

    def test_every_suite_has_a_name(self) -> None:
        names = {1: "aes-128-gcm", 2: "aes-256-gcm", 3: "chacha20-poly1305", 4: "aes-192-gcm"}
        self.assertEqual({int(suite): suite.text for suite in Suite}, names)
        for suite in Suite:
            keyring = Keyring.parse(f"tidings-keyring 1\n0 {suite.text} primary {KEY}\n")
            self.assertIs(keyring.primary.suite, suite)

    def test_what_is_refused(self) -> None:
        first = "tidings-keyring 1\n"
        good = f"0 aes-256-gcm primary {KEY}\n"
        for text in (
            "", "tidings-keyring 2\n" + good, " " + first + good, first, first + good + good,
            first + good + f"1 aes-256-gcm primary {KEY}", first + f"0 aes-256-gcm installed {KEY}",
            first + f"8 aes-256-gcm primary {KEY}", first + f"00 aes-256-gcm primary {KEY}", first + f"0 aes-512-gcm primary {KEY}",
            first + f"0 AES-256-GCM primary {KEY}", first + f"0 aes-256-gcm main {KEY}", first + f"0 aes-256-gcm primary {KEY[:-2]}",
            first + f"0 aes-256-gcm primary {KEY[:-1]}_", first + good + "x",
        ):  # fmt: skip
            with self.assertRaises(ProtocolError, msg=text) as caught:
                Keyring.parse(text)
            self.assertNotIn(KEY[:16], str(caught.exception))


class Topics(unittest.TestCase):
    def test_topics(self) -> None:
        for topic in ("a", "a.b", "größe.x", "a b", "x" * 255):
            check_topic(topic)
            check_pattern(topic)
        for topic in ("", ".", "a.", ".a", "a..b", "*", "a.*", "a*", "a\n", "a\x7f", "a\x85", "x" * 256, "ü" * 128, "\ud800"):
            self.assertRaises(ProtocolError, check_topic, topic)

    def test_patterns(self) -> None:
        for pattern in ("*", "a.*", "a.b.*"):
            check_pattern(pattern)
        for pattern in ("", "**", ".*", "a*", "*.a", "a.*.b", "a.*.*", "a..*", "x" * 254 + ".*"):
            self.assertRaises(ProtocolError, check_pattern, pattern)

    def test_selection(self) -> None:
        self.assertTrue(selects("*", "a"))
        self.assertTrue(selects("a.*", "a.b"))
        self.assertTrue(selects("a.*", "a.b.c"))
        self.assertFalse(selects("a.*", "a"))
        self.assertFalse(selects("a.*", "ab.c"))
        self.assertFalse(selects("a", "a.b"))


class Headers(unittest.TestCase):
    def test_what_is_refused_before_a_key_is_used(self) -> None:
        good = {record.name: record["header"] for record in vectors.load("headers.hex")}
        changes = [("pair", 0, 0x22), ("pair", 0, 0x15), ("pair", 0, 0x10), ("pair", 1, 0), ("pair", 1, 5), ("pair", 1, 0xE0)]
        changes += [(name, 2, 0x08) for name in ("pair", "bulk", "fan")] + [("fan", at, 1) for at in range(25, 32)]
        changes += [("hello", 2, kind_slot) for kind_slot in (0x05, 0x65, 0x1D, 0x95)] + [("hello", 4, 0xC1)]
        for name, at, value in changes:
            changed = bytearray(good[name]) + bytes(0xC0 if name == "hello" else 16)
            read_header(bytes(changed))
            changed[at] = value
            with self.assertRaises(ProtocolError, msg=f"{name} with byte {at} = {value:#x}"):
                read_header(bytes(changed))


class Beacons(unittest.TestCase):
    def test_what_names_nobody_is_refused(self) -> None:
        node, boot, here = bytes([1] * 16), bytes([2] * 16), bytes(10) + b"\xff\xff\x0a\x00\x00\x01"
        Beacon(7400, node, boot, here).check()
        group, nowhere = bytes(10) + b"\xff\xff\xef\xff\x00\x01", bytes(16)
        wrong = [(0, node, boot, here), (1, nowhere, boot, here), (1, node, nowhere, here), (1, node, boot, nowhere), (1, node, boot, group)]
        for values in wrong:
            self.assertRaises(ProtocolError, Beacon(*values).check)


class Bodies(unittest.TestCase):
    ack = pair.Ack(7)

    def test_padding_and_ends(self) -> None:
        ping, ack = pair.Ping(1, bytes(16)), self.ack
        member = next(r["digest"] for r in vectors.load("digests-pair.hex") if r.name == "member")
        padded = member.ljust(-(-len(member) // 8) * 8, b"\0")
        self.assertEqual(len(read_body(padded + ack.encode() + bytes(20), Place.PAIR).digests), 2)
        self.assertEqual(read_body(write_body([ping, ack]) + bytes(3), Place.PAIR).digests, (ping, ack))
        for bad, stand in ((ack.encode() + b"\0\1", 1), (ack.encode() + bytes(8) + b"\1", 1), (padded[:-1] + b"\1" + ack.encode(), 0)):
            read = read_body(bad, Place.PAIR)
            self.assertEqual(len(read.digests), stand)
            self.assertIsNotNone(read.malformed)

    def test_unknown_and_misplaced_digests_are_counted(self) -> None:
        unknown = struct.pack("<BBHI", 0x1F, 0xFF, 8, 1)
        read = read_body(unknown + Define(1, 0, "a").encode().ljust(24, b"\0") + self.ack.encode(), Place.PAIR)
        self.assertEqual((read.digests, read.unknown, read.misplaced, read.malformed), ((self.ack,), 1, 1, None))

    def test_a_longer_digest_is_read_as_far_as_it_is_known(self) -> None:
        longer = struct.pack("<BBHIQ", 0x12, 0, 16, 7, 99)
        self.assertEqual(read_body(longer, Place.PAIR).digests, (self.ack,))

    def test_numbers_that_do_not_follow_are_refused(self) -> None:
        define, other = Define(1, 5, "a"), Message(2, b"")
        self.assertEqual([seq for seq, _ in numbered([define, Message(1, b""), Message(1, b"")])], [5, 5, 6])
        for records in ([Message(1, b"")], [define, other]):
            with self.assertRaises(ProtocolError):
                list(numbered(records))


class Handshakes(unittest.TestCase):
    overlay = overlay_id("test")
    source = Address.parse("192.0.2.1", 7400)
    keyring = Keyring.parse(f"tidings-keyring 1\n2 aes-256-gcm primary {KEY}\n")

    def both(self, **options):
        responder = Responder(Node(), self.overlay, self.keyring)
        return Initiator(Node(), self.overlay, self.keyring, hs=1, rx_index=77, **options), responder

    def test_a_session_both_ways(self) -> None:
        initiator, responder = self.both()
        h2 = responder.answer(initiator.h1, self.source)
        self.assertLessEqual(len(h2), len(initiator.h1))
        self.assertEqual(len(initiator.h1), 256)
        h3 = initiator.take_h2(h2)
        there, opened, _ = responder.take_h3(h3, self.source, rx_index=88)
        here, _ = initiator.take_opened(opened)
        self.assertEqual((here.index, there.index), (88, 77))
        ping = pair.Ping(1, responder.node.id)
        datagram = here.seal([ping])
        self.assertEqual(there.open(datagram).digests, (ping,))
        self.assertEqual(there.open(datagram).digests, (), "a duplicate's body is discarded")
        self.assertEqual(here.open(there.seal([pair.Ack(1)])).digests, (pair.Ack(1),))

    def test_a_session_in_every_suite(self) -> None:
        for suite in Suite:
            keyring = Keyring.parse(f"tidings-keyring 1\n2 {suite.text} primary {KEY}\n")
            responder = Responder(Node(), self.overlay, keyring)
            initiator = Initiator(Node(), self.overlay, keyring, hs=1, rx_index=77)
            h3 = initiator.take_h2(responder.answer(initiator.h1, self.source))
            there, opened, _ = responder.take_h3(h3, self.source, rx_index=88)
            here, _ = initiator.take_opened(opened)
            datagram = here.seal([pair.Ack(1)])
            self.assertEqual(datagram[1], suite)
            self.assertEqual(there.open(datagram).digests, (pair.Ack(1),))
            changed = datagram[:-1] + bytes([datagram[-1] ^ 1])
            self.assertRaises(ProtocolError, there.open, changed)

    def test_a_repeated_h3_gives_the_same_session(self) -> None:
        initiator, responder = self.both()
        h3 = initiator.take_h2(responder.answer(initiator.h1, self.source))
        first, _, _ = responder.take_h3(h3, self.source, rx_index=88)
        again, opened, _ = responder.take_h3(h3, self.source, rx_index=99)
        self.assertIs(again, first)
        initiator.take_opened(opened)

    def test_what_is_refused(self) -> None:
        initiator, responder = self.both()
        elsewhere = Address.parse("192.0.2.2", 7400)
        h2 = responder.answer(initiator.h1, self.source)
        h3 = initiator.take_h2(h2)
        self.assertRaises(ProtocolError, initiator.take_h2, h2)
        self.assertRaises(ProtocolError, responder.take_h3, h3, elsewhere, rx_index=1)
        responder.rotate()
        responder.take_h3(h3, self.source, rx_index=1)
        late, _ = self.both()
        late_h3 = late.take_h2(responder.answer(late.h1, self.source))
        responder.rotate()
        responder.rotate()
        self.assertRaises(ProtocolError, responder.take_h3, late_h3, self.source, rx_index=1)
        wrong = Initiator(Node(), self.overlay, self.keyring, hs=1, rx_index=1, target=b"x" * 16)
        self.assertRaises(ProtocolError, responder.answer, wrong.h1, self.source)
        mirror = Initiator(responder.node, self.overlay, self.keyring, hs=1, rx_index=1)
        self.assertRaises(ProtocolError, responder.answer, mirror.h1, self.source)

    def test_an_older_try_is_refused(self) -> None:
        node, responder = Node(), Responder(Node(), self.overlay, self.keyring)
        older, newer = (Initiator(node, self.overlay, self.keyring, hs=hs, rx_index=1) for hs in (1, 2))
        older_h3, newer_h3 = (i.take_h2(responder.answer(i.h1, self.source)) for i in (older, newer))
        responder.take_h3(newer_h3, self.source, rx_index=1)
        self.assertRaises(ProtocolError, responder.take_h3, older_h3, self.source, rx_index=1)

    def test_a_cookie(self) -> None:
        initiator, _ = self.both()
        nonce = initiator._who.nonce
        body = write_body([Cookie(5, nonce)])
        schedule = KeySchedule(self.keyring.primary, self.overlay)
        self.assertEqual(initiator.take_cookie(seal_hello(schedule, 4, bytes(32), body)), 5)
        other = write_body([Cookie(5, bytes(16))])
        self.assertRaises(ProtocolError, initiator.take_cookie, seal_hello(schedule, 4, bytes(32), other))


if __name__ == "__main__":
    unittest.main()
