"""Every golden vector, both ways. An entry that no test consumes is a failure."""

from __future__ import annotations

import struct
import unittest

import vectors
from vectors import FOLDER, Record, load, words

from tidings.client import frames
from tidings.client.frames import decode_frame
from tidings.client.framing import MAX_LEN, FrameCutter
from tidings.errors import ProtocolError
from tidings.wire import bulk, control, fan, hashes, hello, pair
from tidings.wire.body import KINDS, Place, decode_digest, read_body, write_body
from tidings.wire.codec import ADDRESS_BYTES, Address, Digest
from tidings.wire.fan import numbered
from tidings.wire.headers import BULK, FAN, PAIR, FanHeader, HelloHeader, SessionHeader, read_header
from tidings.wire.keyring import Keyring
from tidings.wire.keys import TAG_BYTES, KeySchedule
from tidings.wire.keys import Record as KeyRecord
from tidings.wire.keys import suite_of
from tidings.wire.seal import SessionNames, open_hello, seal_hello, stream_direction

DIGESTS = {
    "h1": hello.H1, "h2": hello.H2, "h3": hello.H3, "cookie": hello.Cookie, "beacon": hello.Beacon, "opened": pair.Opened, "ping": pair.Ping, "ack": pair.Ack,
    "ping_req": pair.PingReq, "nack": pair.Nack, "member": pair.Member, "rumour": pair.Rumour, "you_are_dead": pair.YouAreDead,
    "path_probe": pair.PathProbe, "path_ack": pair.PathAck, "ctl": pair.Ctl, "ctl_ack": pair.CtlAck, "bulk_ack": pair.BulkAck,
    "fan_ack": pair.FanAck, "fan_beat": pair.FanBeat, "stream_open": control.StreamOpen, "stream_ready": control.StreamReady,
    "stream_close": control.StreamClose, "delivered": control.Delivered, "deferred": control.Deferred,
    "deferred_gone": control.Deferred, "resumed": control.Resumed,
    "fetch": control.Fetch, "fetched": control.Fetched, "gap": control.Gap, "table_ack": control.TableAck,
    "table_ask": control.TableAsk, "bucket_ask": control.BucketAsk, "bulk": bulk.Bulk, "table": bulk.Table, "sub_add": bulk.SubAdd,
    "sub_del": bulk.SubDel, "table_end": bulk.TableEnd, "buckets": bulk.Buckets, "retired": bulk.Retired, "backlog": bulk.Backlog,
    "catchup": bulk.Catchup, "define": fan.Define, "message": fan.Message, "message_with_seq": fan.Message, "fragment": fan.Fragment,
}  # fmt: skip

DIGEST_FILES = ("digests-hello.hex", "digests-pair.hex", "digests-ctl.hex", "digests-bulk.hex", "digests-fan.hex")
SEALED_FILES = ("sealed-hello.hex", "sealed-pair.hex", "sealed-bulk.hex", "sealed-fan.hex")


def digest_fields(record: Record) -> dict:
    """The fields that the digest of a record is made of."""
    fields = {"flags": record.take("flags")}
    who = record.take_prefixed("who.")
    if who:
        fields["who"] = hello.Introduction(**who)
    for name in record:
        if name in ("flags", "digest") or name.startswith("who."):
            continue
        value = record.take(name)
        if name == "addrs":
            value = tuple(Address.decode(value[at : at + ADDRESS_BYTES]) for at in range(0, len(value), ADDRESS_BYTES))
        elif name in ("bitmap", "hashes") and isinstance(value, str):
            value = words(value)
        fields["first" if name == "from" else name] = value
        if name == "first" and "from" in record:
            raise AssertionError("a digest with both `first` and `from`")
    return fields


class Consumed(unittest.TestCase):
    """Checks that a test looked at every entry of every record."""

    def assert_consumed(self, records: list[Record]) -> None:
        self.assertTrue(records)
        for record in records:
            self.assertEqual(record.untaken, set(), f"[{record.name}] has entries that no test consumed")


class Files(unittest.TestCase):
    def test_every_file_has_a_test(self) -> None:
        known = {"hashes.hex", "headers.hex", "client-frames.hex", *DIGEST_FILES, *SEALED_FILES}
        self.assertEqual({path.name for path in FOLDER.glob("*.hex")}, known)

    def test_the_parser_refuses_what_it_does_not_know(self) -> None:
        for text in ("[a]\nx", "[a]\nx = 0g", "[a]\nx = int y", "[a]\nx = 00\nx = 00"):
            self.assertRaises(ValueError, vectors.parse, text)


class Hashes(Consumed):
    def test_hashes(self) -> None:
        records = load("hashes.hex")
        for record in records:
            getattr(self, "check_" + record.name)(record)
        self.assert_consumed(records)

    def check_overlay(self, record: Record) -> None:
        overlay = hashes.overlay_id(record.take("name"))
        self.assertEqual(overlay, record.take("id"))
        self.assertEqual(hashes.overlay_tag(overlay), record.take("tag"))
        self.assertEqual(hashes.steer(overlay, 0), record.take("steer_of_lane_0"))
        self.assertEqual(hashes.steer(overlay, 1), record.take("steer_of_lane_1"))

    def check_member(self, record: Record) -> None:
        member = record.take("id"), record.take("generation"), record.take("incarnation")
        self.assertEqual(hashes.bucket(member[0]), record.take("bucket"))
        alive = record.take("hash_alive_or_suspect")
        self.assertEqual(hashes.member_hash(*member, hashes.ALIVE), alive)
        self.assertEqual(hashes.member_hash(*member, hashes.SUSPECT), alive)
        self.assertEqual(hashes.member_hash(*member, hashes.DEAD), record.take("hash_dead"))
        self.assertEqual(hashes.member_hash(*member, hashes.LEFT), record.take("hash_left"))

    def check_client(self, record: Record) -> None:
        self.assertEqual(hashes.client_hash(record.take("name")), record.take("hash"))


class Headers(Consumed):
    def test_headers(self) -> None:
        records = load("headers.hex")
        for record in records:
            fields = {name: record.take(name) for name in record if name != "header"}
            fields["suite"] = suite_of(fields["suite"])
            header = record.take("header")
            if record.name == "hello":
                made, rest = HelloHeader(**fields), fields["sealed_len"]
            elif record.name == "fan":
                made, rest = FanHeader(**fields), TAG_BYTES
            else:
                made, rest = SessionHeader({"pair": PAIR, "bulk": BULK}[record.name], **fields), TAG_BYTES
            self.assertEqual(made.encode(), header, record.name)
            self.assertEqual(read_header(header + bytes(rest)), made)
        self.assert_consumed(records)
        self.assertEqual({record.name for record in records}, {"hello", "pair", "bulk", "fan"})


class Digests(Consumed):
    def test_every_digest(self) -> None:
        seen: set[type[Digest]] = set()
        for file in DIGEST_FILES:
            records = load(file)
            for record in records:
                with self.subTest(digest=record.name):
                    digest = record.take("digest")
                    made = DIGESTS[record.name](**digest_fields(record))
                    self.assertEqual(made.encode(), digest)
                    self.assertEqual(decode_digest(digest), made)
                    seen.add(type(made))
            self.assert_consumed(records)
        self.assertEqual(seen, set(KINDS.values()), "a digest without a vector, or a vector of an unknown one")


def schedule_of(record: Record) -> KeySchedule:
    overlay = hashes.overlay_id(record.take("overlay"))
    return KeySchedule(KeyRecord(record.take("slot"), suite_of(record.take("suite")), record.take("key")), overlay)


def direction_of(record: Record):
    """The keys of a sealed PAIR, BULK or FAN record."""
    schedule = schedule_of(record)
    if "session" in record:
        return stream_direction(schedule, record.take("node"), record.take("boot"), record.take("session"), record.take("lane"))
    names = SessionNames(
        *(record.take(n) for n in ("initiator", "initiator_boot", "responder", "responder_boot", "nonce_i", "nonce_r"))
    )
    return names.direction(schedule, PAIR if record.name.startswith("pair") else BULK, record.take("direction"))


def header_of(record: Record, direction):
    record_of_key = direction.schedule.record
    common = record_of_key.suite, record_of_key.slot, record.take("steer")
    if direction.datagram_class == FAN:
        tag = hashes.overlay_tag(direction.schedule.overlay)[:4]
        return FanHeader(*common, tag, record.take("counter"), record.take("session"), record.take("lane"))
    return SessionHeader(direction.datagram_class, *common, record.take("index"), record.take("counter"))


class Sealed(Consumed):
    def test_hello(self) -> None:
        records = load("sealed-hello.hex")
        for record in records:
            with self.subTest(record.name):
                schedule = schedule_of(record)
                kind, salt, cookie, body = (record.take(n) for n in ("kind", "salt", "cookie", "body"))
                self.assertEqual(schedule.gate_key(), record.take("sip_key"))
                derived = schedule.hello(kind, salt)
                self.assertEqual((derived.key, derived.iv), (record.take("derived_key"), record.take("derived_iv")))
                datagram = record.take("datagram")
                self.assertEqual(
                    seal_hello(schedule, kind, salt, body, cookie=cookie, steer_byte=record.take("steer")), datagram
                )
                keyring = Keyring((schedule.record,), schedule.record)
                header, opened = open_hello(schedule.overlay, keyring, datagram)
                self.assertEqual(opened, body)
                self.assertEqual(header.gate, record.take("gate"))
                read = read_body(body, Place.HELLO)
                self.assertIsNone(read.malformed)
                self.assertEqual(write_body(read.digests).ljust(len(body), b"\0"), body)
        self.assert_consumed(records)

    def test_the_inner_datagram_of_h3(self) -> None:
        for record in load("sealed-hello.hex"):
            if record["kind"] != 3:
                continue
            h3 = read_body(record["body"], Place.HELLO).digests[0]
            schedule = schedule_of(record)
            names = SessionNames(h3.who.id, h3.who.boot, h3.responder, h3.responder_boot, h3.who.nonce, h3.nonce_r)
            direction = names.direction(schedule, PAIR, 0)
            header, body = direction.open(h3.inner)
            self.assertEqual((header.index, header.steer, header.counter, body), (0, 0, 0, b""))
            self.assertEqual(direction.seal(header, body), h3.inner)

    def test_sessions_and_streams(self) -> None:
        for file in SEALED_FILES[1:]:
            records = load(file)
            for record in records:
                with self.subTest(record.name):
                    direction = direction_of(record)
                    header = header_of(record, direction)
                    derived = direction.key(header.counter)
                    self.assertEqual((derived.key, derived.iv), (record.take("derived_key"), record.take("derived_iv")))
                    body, datagram = record.take("body"), record.take("datagram")
                    self.assertEqual(direction.seal(header, body), datagram)
                    self.assertEqual(direction.open(datagram), (header, body))
                    place = {PAIR: Place.PAIR, BULK: Place.BULK, FAN: Place.FAN}[direction.datagram_class]
                    read = read_body(body, place)
                    self.assertEqual((read.malformed, read.unknown, read.misplaced), (None, 0, 0))
                    self.assertEqual(write_body(read.digests), body)
            self.assert_consumed(records)

    def test_channel_content(self) -> None:
        for record in (*load("digests-pair.hex"), *load("digests-bulk.hex")):
            if "content" in record:
                read = read_body(record["content"], Place.CHANNEL)
                self.assertIsNone(read.malformed)
                self.assertEqual(write_body(read.digests), record["content"])

    def test_numbers_of_fan_records(self) -> None:
        body = load("sealed-fan.hex")[0]["body"]
        seqs = [seq for seq, _ in numbered(read_body(body, Place.FAN).digests)]
        self.assertEqual(seqs, [0x0102030405060708, 9, 10, 9])


def sealed_openers():
    """Each sealed vector once with the function that opens it."""
    for file in SEALED_FILES:
        for record in load(file):
            if file == "sealed-hello.hex":
                schedule = schedule_of(record)
                keyring = Keyring((schedule.record,), schedule.record)
                yield record, lambda data, o=schedule.overlay, k=keyring: open_hello(o, k, data)
            else:
                yield record, direction_of(record).open


class ClientFrames(Consumed):
    """The frames of the local client protocol."""

    FIELDS = {
        "hello": frames.Hello(1, 1, b"\x33" * 32, "worker-1", flags=frames.Hello.PROVE),
        "proof": frames.Proof(b"\x44" * 32),
        "subscribe": frames.Subscribe(2, 0, 1, 0, 3, 5000, "demo", "orders.*"),
        "unsubscribe": frames.Unsubscribe(2),
        "ack": frames.Ack(2, 9, b"\x11" * 16, b"\x22" * 16, 40, 41, 7),
        "open": frames.Open(5, "demo", "orders.new"),
        "close": frames.Close(5),
        "publish": frames.Publish(5, (b"hello", b"", b"world")),
        "ask-owed": frames.AskOwed(5),
        "watch": frames.Watch(3, "demo"),
        "unwatch": frames.Unwatch(3),
        "query": frames.Query(8, frames.Query.MEMBERS, "demo"),
        "leave": frames.Leave(8, ""),
        "challenge": frames.Challenge(b"\x11" * 16, b"\x22" * 16, b"\x55" * 32, b"\x44" * 32),
        "welcome": frames.Welcome(1, 4259840, b"\x11" * 16, b"\x22" * 16, 7, 8 << 20, "host-a"),
        "error": frames.Error(6, 0x20, 5, "no overlay named x"),
        "subscribed": frames.Subscribed(2, 0x1234, ("host-b", "host-c"), flags=frames.Subscribed.PARTIAL),
        "unsubscribed": frames.Unsubscribed(2),
        "deliver": frames.Deliver(2, 9, b"\x11" * 16, b"\x22" * 16, 40, "orders.new", (b"hello", b"world"), flags=1),
        "gap": frames.Gap(2, 9, b"\x11" * 16, b"\x22" * 16, 42, 3, 5, "orders.new"),
        "opened": frames.Opened(5, 9, 1 << 20, 2, 2 << 20),
        "closed": frames.Closed(5),
        "accepted": frames.Accepted(5, 2, 0, 3),
        "outcome": frames.Outcome(5, 0x1234, b"\x11" * 16, 0, 3, 0),
        "credit": frames.Credit(frames.CONNECTION, 9 << 20),
        "owed": frames.Owed(5, 2),
        "presence": frames.Presence(
            3, 1, b"\x11" * 16, bytes(10) + b"\xff\xff\x0a\0\0\1", 7400, "host-b", b"rack=3",
            flags=frames.Presence.SNAPSHOT | frames.Presence.REACHED,
        ),
        "answer": frames.Answer(8, "[]"),
    }  # fmt: skip

    def test_every_frame(self) -> None:
        (record,) = load("client-frames.hex")
        for name in record:
            with self.subTest(frame=name):
                data, frame = record.take(name), self.FIELDS[name]
                self.assertEqual(frame.encode(), data)
                ((kind, flags, body),) = FrameCutter().feed(data)
                self.assertEqual(decode_frame(kind, flags, body), frame)
        self.assert_consumed([record])
        self.assertEqual({type(frame) for frame in self.FIELDS.values()}, set(frames.KINDS.values()))

    def test_every_frame_byte_by_byte(self) -> None:
        (record,) = load("client-frames.hex")
        cutter, cut = FrameCutter(), []
        for byte in b"".join(record.values()):
            cut += [decode_frame(*frame) for frame in cutter.feed(bytes([byte]))]
        self.assertEqual(cut, list(self.FIELDS[name] for name in record))

    def test_malformed_frames_raise_protocol_errors_only(self) -> None:
        (record,) = load("client-frames.hex")
        for data in record.values():
            kind, flags, body = data[4], data[5], data[8:]
            for size in range(len(body)):
                self.read(kind, flags, body[:size])
            self.read(kind, flags, body + b"x")
            for bit in range(8 * len(body)):
                changed = bytearray(body)
                changed[bit // 8] ^= 1 << bit % 8
                self.read(kind, flags, bytes(changed))

    def test_heads_that_no_frame_has(self) -> None:
        for head in (3, 0, MAX_LEN + 1, 0xFFFFFFFF):
            self.assertRaises(ProtocolError, list, FrameCutter().feed(head.to_bytes(4, "little")))
        self.assertRaises(ProtocolError, list, FrameCutter().feed(bytes.fromhex("0400000082000100")))
        self.assertRaises(ProtocolError, decode_frame, 0xFE, 0, b"")

    def read(self, kind: int, flags: int, body: bytes) -> None:
        try:
            decode_frame(kind, flags, body)
        except ProtocolError:
            pass


class MalformedSealed(unittest.TestCase):
    def test_every_prefix_is_refused(self) -> None:
        for record, opener in sealed_openers():
            datagram = record["datagram"]
            for size in range(len(datagram)):
                with self.assertRaises(ProtocolError, msg=f"[{record.name}] cut to {size} bytes"):
                    opener(datagram[:size])

    def test_every_bit_flip_is_refused(self) -> None:
        for record, opener in sealed_openers():
            datagram = record["datagram"]
            for bit in range(8 * len(datagram)):
                changed = bytearray(datagram)
                changed[bit // 8] ^= 1 << bit % 8
                with self.assertRaises(ProtocolError, msg=f"[{record.name}] with bit {bit} flipped"):
                    opener(bytes(changed))

    def test_every_appended_byte_is_refused(self) -> None:
        for record, opener in sealed_openers():
            self.assertRaises(ProtocolError, opener, record["datagram"] + b"\0")


class MalformedDigests(unittest.TestCase):
    def setUp(self) -> None:
        self.digests = [(r.name, r["digest"]) for file in DIGEST_FILES for r in load(file)]

    def test_every_prefix_is_refused(self) -> None:
        for name, digest in self.digests:
            for size in range(len(digest)):
                with self.assertRaises(ProtocolError, msg=f"[{name}] cut to {size} bytes"):
                    decode_digest(digest[:size])

    def test_every_prefix_that_states_its_own_length_is_read_or_refused(self) -> None:
        for _, digest in self.digests:
            for size in range(4, len(digest)):
                self.read(digest[:2] + struct.pack("<H", size) + digest[4:size])

    def test_every_bit_flip_is_read_or_refused(self) -> None:
        for _, digest in self.digests:
            for bit in range(8 * len(digest)):
                changed = bytearray(digest)
                changed[bit // 8] ^= 1 << bit % 8
                self.read(bytes(changed))

    def test_what_is_read_of_a_flipped_digest_can_be_written(self) -> None:
        for _, digest in self.digests:
            for bit in range(8, 8 * len(digest)):
                changed = bytearray(digest)
                changed[bit // 8] ^= 1 << bit % 8
                try:
                    read = decode_digest(bytes(changed))
                except ProtocolError:
                    continue
                self.assertEqual(decode_digest(read.encode()), read)

    def read(self, digest: bytes) -> None:
        try:
            decode_digest(digest)
        except ProtocolError:
            pass
        for place in Place:
            read_body(digest, place)


if __name__ == "__main__":
    unittest.main()
