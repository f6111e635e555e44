"""The client without a daemon: login, what a false daemon may send, and rules that need no daemon."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import random
import shutil
import tempfile
import unittest
from unittest import mock

import vectors
from daemon import BoundedCase

import tidings
from tidings import AsyncClient
from tidings.client import frames
from tidings.client.framing import FrameCutter
from tidings.client.login import Login, default_socket, load_secret
from tidings.wire.keys import hkdf_sha256

NODE, BOOT = b"\x11" * 16, b"\x22" * 16
WELCOME = frames.Welcome(1, 4259840, NODE, BOOT, 1, 8 << 20, "host")


class Logins(unittest.TestCase):
    secret = bytes(range(32))

    def challenge(self, login: Login, secret: bytes) -> frames.Challenge:
        hello, nonce = login.hello(), b"\x33" * 32
        key = hkdf_sha256(b"tidings/1 local", secret, hello.name.encode())
        self.transcript = hello.nonce + nonce + NODE + BOOT + hello.name.encode()
        self.key = key
        return frames.Challenge(NODE, BOOT, nonce, hmac.digest(key, b"d" + self.transcript, "sha256"))

    def test_without_a_secret(self) -> None:
        login = Login("name")
        self.assertEqual((login.hello().flags, login.hello().name), (0, "name"))
        self.assertIsNone(login.take(WELCOME))
        self.assertIs(login.welcome, WELCOME)

    def test_with_a_secret(self) -> None:
        login = Login("name", self.secret)
        self.assertEqual(login.hello().flags, frames.Hello.PROVE)
        proof = login.take(self.challenge(login, self.secret))
        self.assertEqual(proof, frames.Proof(hmac.digest(self.key, b"c" + self.transcript, "sha256")))
        login.take(WELCOME)
        self.assertIs(login.welcome, WELCOME)

    def test_a_daemon_that_does_not_know_the_secret_gets_no_proof(self) -> None:
        login = Login("name", self.secret)
        self.assertRaises(tidings.Denied, login.take, self.challenge(login, bytes(32)))

    def test_frames_out_of_place(self) -> None:
        login = Login("name", self.secret)
        self.assertRaises(tidings.ProtocolError, login.take, WELCOME)
        challenge = self.challenge(login, self.secret)
        login.take(challenge)
        self.assertRaises(tidings.ProtocolError, login.take, challenge)
        self.assertRaises(tidings.ProtocolError, Login("name").take, challenge)
        self.assertRaises(tidings.ProtocolError, Login().take, frames.Closed(1))

    def test_refusals_have_types(self) -> None:
        for code, kind in ((2, tidings.VersionMismatch), (3, tidings.Denied), (10, tidings.Busy), (99, tidings.Refused)):
            with self.assertRaises(kind) as caught:
                Login().take(frames.Error(code, 0, frames.CONNECTION, "a sentence", flags=1))
            self.assertEqual(caught.exception.code, code)

    def test_names_and_secrets(self) -> None:
        for name, secret in (("a b", None), ("x" * 65, None), ("", self.secret), ("a", b"short"), ("ü", None), ("a\n", None)):
            self.assertRaises(ValueError, Login, name, secret)

    def test_secret_files(self) -> None:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("ab" * 32 + "\n")
            file.flush()
            self.assertEqual(load_secret(file.name), b"\xab" * 32)
            file.write("more")
            file.flush()
            self.assertRaises(tidings.ProtocolError, load_secret, file.name)

    def test_where_the_socket_is(self) -> None:
        with mock.patch.dict(os.environ, {"TIDINGS_SOCKET": "/x/y.sock"}):
            self.assertEqual(default_socket(), "/x/y.sock")
        with mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": "/tmp"}):
            os.environ.pop("TIDINGS_SOCKET", None)
            self.assertEqual(default_socket(), "/tmp/tidings/tidings.sock")
        for there, folder in ((True, f"/run/user/{os.getuid()}/tidings"), (False, f"/tmp/tidings-{os.getuid()}")):
            with mock.patch.dict(os.environ), mock.patch("os.path.isdir", return_value=there):
                os.environ.pop("TIDINGS_SOCKET", None)
                os.environ.pop("XDG_RUNTIME_DIR", None)
                self.assertEqual(default_socket(), folder + "/tidings.sock")


class FalseDaemon(BoundedCase):
    """A socket that says what a test wants after the login."""

    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="py-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "t.sock")

    async def serve(self, says) -> None:
        """`says(frame)` returns the bytes that answer a frame; b"" closes."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            cutter = FrameCutter()
            with contextlib.suppress(OSError, asyncio.CancelledError), contextlib.closing(writer):
                while data := await reader.read(65536):
                    for frame in cutter.feed(data):
                        writer.write(says(frames.decode_frame(*frame)))

        server = await asyncio.start_unix_server(connected, self.path)
        self.addCleanup(server.close)

    async def connect(self) -> AsyncClient:
        client = await AsyncClient(self.path).connect()
        self.addAsyncCleanup(client.close)
        return client

    @staticmethod
    def opened(frame) -> bytes:
        """What a daemon says to HELLO, OPEN, SUBSCRIBE and WATCH."""
        if isinstance(frame, frames.Hello):
            return WELCOME.encode()
        if isinstance(frame, frames.Open):
            return frames.Opened(frame.publisher, 1, 1 << 20, 0, 1 << 20).encode()
        if isinstance(frame, frames.Subscribe):
            return frames.Subscribed(frame.sub, 1, ()).encode()
        return b""

    async def ends_with(self, error: type[Exception], answer) -> None:
        """Publishing gets an answer that ends the client."""
        await self.serve(lambda frame: answer(frame) if isinstance(frame, frames.Publish) else self.opened(frame))
        client = await self.connect()
        publisher = await client.publisher("demo", "a")
        with self.assertLogs("tidings"), self.assertRaises((error, tidings.Disconnected)):
            await publisher.publish(b"x")
        with self.assertRaises(error):
            await publisher.publish(b"y")

    async def test_a_frame_that_is_too_long(self) -> None:
        await self.ends_with(tidings.ProtocolError, lambda _: b"\xff\xff\xff\xff")

    async def test_a_frame_that_promises_too_much(self) -> None:
        await self.ends_with(tidings.ProtocolError, lambda _: bytes.fromhex("08000000a500000001000000"))

    async def test_more_accepted_than_sent(self) -> None:
        await self.ends_with(tidings.ProtocolError, lambda f: frames.Accepted(f.publisher, 0, 0, 0xFFFFFFFF).encode())

    async def test_outcomes_of_what_was_not_sent(self) -> None:
        await self.ends_with(tidings.ProtocolError, lambda f: frames.Outcome(f.publisher, 1, NODE, 0, 0xFFFFFFFF, 0).encode())

    async def test_a_frame_out_of_place(self) -> None:
        await self.ends_with(tidings.ProtocolError, lambda _: WELCOME.encode())

    async def test_an_answer_that_is_not_json(self) -> None:
        texts = iter(["{", "[1]", "{}", "[" * 100000, '[{"name":"a"}]'])

        def says(frame) -> bytes:
            return frames.Answer(frame.request, next(texts)).encode() if isinstance(frame, frames.Query) else self.opened(frame)

        await self.serve(says)
        client = await self.connect()
        for _ in range(4):
            with self.assertRaises(tidings.ProtocolError):
                await client.members("demo")
        self.assertEqual(await client.members("demo"), [{"name": "a"}])

    async def test_outcome_before_acceptance(self) -> None:
        def says(frame) -> bytes:
            if not isinstance(frame, frames.Publish):
                return self.opened(frame)
            return frames.Outcome(frame.publisher, 5, NODE, 0, 1, 0).encode() + frames.Accepted(frame.publisher, 1, 0, 1).encode()

        await self.serve(says)
        publisher = await (await self.connect()).publisher("demo", "a")
        sent = await publisher.publish(b"x")
        self.assertEqual([(o.delivered, o.sub) for o in await sent.outcomes()], [(True, 5)])

    async def test_opened_again_is_the_largest_message_and_the_credit_from_then_on(self) -> None:
        told = iter([(1000, 2, 5 + 1004), (10, 3, 2000), (10, 3, 2000)])

        def says(frame) -> bytes:
            if isinstance(frame, frames.Open):
                return frames.Opened(frame.publisher, 7, 100, 1, 200).encode()
            if not isinstance(frame, frames.Publish):
                return self.opened(frame)
            largest, owed, credit = next(told)
            again = frames.Opened(frame.publisher, 7, largest, owed, credit)
            return again.encode() + frames.Accepted(frame.publisher, 0, seqs.pop(0), 1).encode()

        seqs = [0, 1, 2]
        await self.serve(says)
        publisher = await (await self.connect()).publisher("demo", "a")
        with self.assertRaises(tidings.TooLarge):
            await publisher.publish(bytes(1000))
        self.assertEqual((await publisher.publish(b"1")).seq, 0)
        self.assertEqual((publisher.max_message, publisher.owed), (1000, 2))
        with self.assertRaises(tidings.TooLarge):
            publisher.offer(bytes(1001))
        larger = publisher.offer(bytes(1000))
        self.assertEqual((larger.seq, larger.handle), (1, 7))
        with self.assertRaises(tidings.WouldBlock):  # what was sent counts
            publisher.offer(b"")
        await larger.accepted()
        self.assertEqual((publisher.max_message, publisher.owed), (10, 3))
        with self.assertRaises(tidings.TooLarge):
            await publisher.send(bytes(11))
        self.assertEqual((await publisher.publish(bytes(10))).seq, 2)

    async def test_what_comes_on_a_subscription(self) -> None:
        publisher = 9, NODE, BOOT

        def says(frame) -> bytes:
            if not isinstance(frame, frames.Subscribe):
                return self.opened(frame)
            told = [
                frames.Deliver(frame.sub, *publisher, 40, "a", (b"one", b""), flags=frames.Deliver.AGAIN),
                frames.Gap(frame.sub, *publisher, 42, 3, 5, "a"),
                frames.Gap(frame.sub, *publisher, 45, 1 << 62, 77, ""),
                frames.Deliver(frame.sub + 1, *publisher, 0, "a", (b"of a subscription that ended",)),
                frames.Subscribed(frame.sub, 1, ("host-b",), flags=frames.Subscribed.PARTIAL),
            ]
            unknown = bytes.fromhex("06000000fe0000000102")
            longer = bytearray(frames.Deliver(frame.sub, *publisher, 50, "a", (b"two",)).encode() + b"of a later version")
            longer[:4] = (len(longer) - 4).to_bytes(4, "little")
            return unknown + b"".join(frame.encode() for frame in told) + bytes(longer)

        await self.serve(says)
        subscription = await (await self.connect()).subscribe("demo", "a")
        self.assertEqual(subscription.pending, ("host-b",))
        events = [await subscription.next_event(5) for _ in range(5)]
        self.assertEqual([(m.payload, m.seq, m.again) for m in events if isinstance(m, tidings.Message)],
                         [(b"one", 40, True), (b"", 41, True), (b"two", 50, False)])
        gaps = [event for event in events if isinstance(event, tidings.Gap)]
        self.assertEqual([(g.seq, g.count, g.reason, g.topic) for g in gaps],
                         [(42, 3, tidings.Result.OVERFLOW, "a"), (45, 1 << 62, 77, "")])
        self.assertEqual(subscription.gaps, 3 + (1 << 62))

    async def test_a_client_that_takes_nothing_stops_reading(self) -> None:
        messages = 64

        def says(frame) -> bytes:
            if not isinstance(frame, frames.Subscribe):
                return self.opened(frame)
            deliver = [frames.Deliver(frame.sub, 9, NODE, BOOT, seq, "a", (bytes(1 << 20),)).encode() for seq in range(messages)]
            return frames.Subscribed(frame.sub, 1, ()).encode() + b"".join(deliver)

        await self.serve(says)
        client = await self.connect()
        subscription = await client.subscribe("demo", "a")
        await asyncio.sleep(0.3)
        self.assertLess(client._held, 10 << 20)
        for seq in range(messages):
            self.assertEqual((await subscription.next(5)).seq, seq)
        self.assertEqual(client._held, 0)

    async def test_random_bytes_raise_nothing_unrelated(self) -> None:
        chance = random.Random(3)
        golden = list(vectors.load("client-frames.hex")[0].values())

        def says(frame) -> bytes:
            if isinstance(frame, frames.Hello):
                return WELCOME.encode()
            data = bytearray(chance.choice(golden))
            for _ in range(chance.randrange(3)):
                data[chance.randrange(4, len(data))] = chance.randrange(256)
            return bytes(data)

        await self.serve(says)
        for _ in range(100):
            with self.assertLogs("tidings") as logs:
                tidings.client.aio.log.warning("at least one")
                client = await AsyncClient(self.path).connect()
                for _ in range(3):
                    for asking in (client.members("a"), client.publisher("a", "b"), client.subscribe("a", "b"), client.watch("a")):
                        with contextlib.suppress(tidings.TidingsError, asyncio.TimeoutError):
                            await asyncio.wait_for(asking, 0.002)
                await client.close()
            self.assertNotIn("fault of this package", " ".join(logs.output))

    async def test_a_folder_that_others_may_write(self) -> None:
        await self.serve(self.opened)
        os.chmod(self.folder, 0o770)
        with self.assertRaises(tidings.Unreachable) as caught:
            await AsyncClient(self.path).connect()
        self.assertIn("0770", str(caught.exception))
        os.chmod(self.folder, 0o1777)
        await self.connect()

    async def test_use_before_connect_and_after_close(self) -> None:
        await self.serve(self.opened)
        client = AsyncClient(self.path)
        with self.assertRaises(tidings.Disconnected):
            await client.publisher("demo", "a")
        with self.assertRaises(tidings.Disconnected):
            await client.members("demo")
        await client.connect()
        await client.close()
        await client.close()
        with self.assertRaises(tidings.Closed):
            await client.subscribe("demo", "a")

    async def test_bad_topics_are_refused_at_once(self) -> None:
        await self.serve(self.opened)
        client = await self.connect()
        for topic in ("", "a.*", "a..b"):
            with self.assertRaises(tidings.ProtocolError):
                await client.publisher("demo", topic)
        with self.assertRaises(tidings.ProtocolError):
            await client.subscribe("demo", "*.a")


if __name__ == "__main__":
    unittest.main()
