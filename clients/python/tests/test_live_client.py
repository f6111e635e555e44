"""The asyncio client against real daemons."""

from __future__ import annotations

import asyncio
import unittest

from daemon import OVERLAY, BoundedCase, Hosts, command, live

import tidings
from tidings import Ack, AsyncClient, Change, Message, Order, Outcome, Reconnected, Redelivery, Result
from tidings.client import aio


async def until(condition, seconds: float = 10) -> None:
    """Waits until an asynchronous condition holds."""
    async def loop() -> None:
        while not await condition():
            await asyncio.sleep(0.02)

    await asyncio.wait_for(loop(), seconds)


class LiveCase(BoundedCase):
    def setUp(self) -> None:
        self.hosts = Hosts(self)

    async def client(self, daemon, **options) -> AsyncClient:
        client = await AsyncClient(daemon.socket, **options).connect()
        self.addAsyncCleanup(client.close)
        return client

    async def two_hosts(self):
        a = self.hosts.start("a")
        b = self.hosts.start("b", join=(a.port,))
        return a, b

    async def all_owed(self, publisher, count: int) -> None:
        async def owed() -> bool:
            return await publisher.ask_owed() == count

        await until(owed)


@live
class PublishAndSubscribe(LiveCase):
    async def test_through_one_daemon(self) -> None:
        client = await self.client(self.hosts.start())
        subscription = await client.subscribe(OVERLAY, "orders.*")
        self.assertEqual(subscription.pending, ())
        async with await client.publisher(OVERLAY, "orders.new") as publisher:
            self.assertEqual((publisher.owed, publisher.max_message), (1, 1 << 20))
            sent = await publisher.publish(b"one")
            self.assertEqual((sent.seq, sent.owed, sent.is_settled), (0, 1, False))
            message = await subscription.next(60)
            self.assertEqual((message.topic, message.payload, message.seq, message.again), ("orders.new", b"one", 0, False))
            self.assertEqual((message.node, message.boot, message.handle), (sent.node, sent.boot, sent.handle))
            self.assertTrue(message.ack())
            (outcome,) = await sent.outcomes()
            self.assertTrue(outcome.delivered)
            self.assertEqual(outcome.node, client.node.node)
            await sent.delivered()
            await publisher.settled()

    async def test_across_two_daemons(self) -> None:
        a, b = await self.two_hosts()
        here, there = await self.client(a), await self.client(b)
        subscription = await there.subscribe(OVERLAY, "*")
        publisher = await here.publisher(OVERLAY, "news")
        await self.all_owed(publisher, 1)
        sent = [await publisher.publish(b"%d" % number) for number in range(100)]
        for number in range(100):
            message = await subscription.next(60)
            self.assertEqual(message.node, here.node.node)
            self.assertTrue(message.ack())
        for message in sent:
            self.assertEqual([o.result for o in await message.outcomes()], [Result.DELIVERED])
            self.assertEqual((await message.outcomes())[0].node, there.node.node)

    async def test_nobody_is_subscribed(self) -> None:
        client = await self.client(self.hosts.start())
        publisher = await client.publisher(OVERLAY, "a")
        sent = await publisher.publish(b"x")
        self.assertEqual((sent.owed, await sent.outcomes()), (0, ()))

    async def test_ten_thousand_in_order(self) -> None:
        a, b = await self.two_hosts()
        here, there = await self.client(a), await self.client(b)
        subscription = await there.subscribe(OVERLAY, "many", order=Order.ORDERED)
        publisher = await here.publisher(OVERLAY, "many")
        await self.all_owed(publisher, 1)

        async def publish() -> None:
            for number in range(10_000):
                await publisher.send(b"%d" % number)
            await publisher.settled()

        publishing = asyncio.create_task(publish())
        for number in range(10_000):
            message = await subscription.next(60)
            self.assertEqual((message.seq, message.payload), (number, b"%d" % number))
            if number % 100 == 99:
                self.assertTrue(message.ack_up_to())
        await publishing
        self.assertEqual(subscription.gaps, 0)

    async def test_a_large_message_and_one_too_large(self) -> None:
        a, b = await self.two_hosts()
        here, there = await self.client(a), await self.client(b)
        subscription = await there.subscribe(OVERLAY, "large", ack=Ack.NODE)
        publisher = await here.publisher(OVERLAY, "large")
        await self.all_owed(publisher, 1)
        payload = bytes(range(256)) * 4096
        await (await publisher.publish(payload)).delivered()
        self.assertEqual((await subscription.next(60)).payload, payload)
        with self.assertRaises(tidings.TooLarge):
            await publisher.publish(payload + b"x")
        await (await publisher.publish(b"")).delivered()
        self.assertEqual((await subscription.next(60)).payload, b"")

    async def test_offer_blocks_when_the_credit_is_used_up(self) -> None:
        client = await self.client(self.hosts.start())
        publisher = await client.publisher(OVERLAY, "a")
        offered = []
        with self.assertRaises(tidings.WouldBlock):
            for _ in range(10):
                offered.append(publisher.offer(bytes(1 << 20)))
        self.assertGreaterEqual(len(offered), 1)
        await (await publisher.send(bytes(1 << 20))).accepted()
        self.assertEqual([await sent.outcomes() for sent in offered], [()] * len(offered))

    async def test_a_reader_that_publishes_is_not_stuck_behind_what_it_did_not_read(self) -> None:
        client = await self.client(self.hosts.start())
        before, aio.HELD_BYTES = aio.HELD_BYTES, 10_000
        try:
            subscription = await client.subscribe(OVERLAY, "in", order=Order.ORDERED)
            publisher, answers = await client.publisher(OVERLAY, "in"), await client.publisher(OVERLAY, "out")
            publishing = asyncio.gather(*[publisher.send(bytes(1000)) for _ in range(200)])
            for number in range(200):
                message = await subscription.next(60)
                self.assertEqual(message.seq, number)
                await answers.publish(b"done")
                message.ack()
            await publishing
            await publisher.settled()
        finally:
            aio.HELD_BYTES = before


@live
class Acknowledgements(LiveCase):
    async def asyncSetUp(self) -> None:
        self.host = self.hosts.start()
        self.here = await self.client(self.host)

    async def test_by_the_node(self) -> None:
        subscription = await self.here.subscribe(OVERLAY, "a", ack=Ack.NODE)
        publisher = await self.here.publisher(OVERLAY, "a")
        await (await publisher.publish(b"x")).delivered()
        self.assertTrue((await subscription.next(60)).ack(), "nothing to do")

    async def test_one_by_one_and_up_to(self) -> None:
        subscription = await self.here.subscribe(OVERLAY, "a", order=Order.ORDERED)
        publisher = await self.here.publisher(OVERLAY, "a")
        sent = [await publisher.publish(b"x") for _ in range(6)]
        messages = [await subscription.next(60) for _ in range(6)]
        messages[4].ack()
        await sent[4].delivered()
        self.assertEqual([s.is_settled for s in sent], [False] * 4 + [True, False])
        messages[2].ack_up_to()
        await sent[2].delivered()
        self.assertEqual([s.is_settled for s in sent], [True] * 3 + [False, True, False])

    async def test_up_to_needs_an_order(self) -> None:
        subscription = await self.here.subscribe(OVERLAY, "a")
        await (await self.here.publisher(OVERLAY, "a")).publish(b"x")
        with self.assertRaises(ValueError):
            (await subscription.next(60)).ack_up_to()

    async def test_attempts_are_used_up_and_the_hole_is_told(self) -> None:
        subscription = await self.here.subscribe(OVERLAY, "a", order=Order.ORDERED, redelivery=Redelivery(attempts=2, every=0.2))
        publisher = await self.here.publisher(OVERLAY, "a")
        sent = await publisher.publish(b"x")
        with self.assertRaises(tidings.NotDelivered) as caught:
            await sent.delivered()
        self.assertEqual([o.result for o in caught.exception.outcomes], [Result.MAX_ATTEMPTS])
        self.assertIsInstance(await subscription.next_event(60), Message)

    async def test_unsubscribe(self) -> None:
        subscription = await self.here.subscribe(OVERLAY, "a")
        publisher = await self.here.publisher(OVERLAY, "a")
        sent = await publisher.publish(b"x")
        await subscription.next(60)
        await subscription.unsubscribe()
        self.assertEqual([o.result for o in await sent.outcomes()], [Result.UNSUBSCRIBED])
        self.assertEqual([message async for message in subscription], [])
        self.assertEqual((await publisher.publish(b"y")).owed, 0)
        with self.assertRaises(tidings.Closed):
            await subscription.next(1)

    async def test_a_named_client_comes_back(self) -> None:
        publisher = await self.here.publisher(OVERLAY, "a")
        async with AsyncClient(self.host.socket, name="reader") as first:
            subscription = await first.subscribe(OVERLAY, "a")
            sent = [await publisher.publish(b"%d" % number) for number in range(3)]
            messages = [await subscription.next(60) for _ in range(3)]
            self.assertFalse(any(message.again for message in messages))
            messages[0].ack()
            await sent[0].delivered()
        self.assertFalse(messages[1].ack(), "the connection that brought it is gone")
        sent.append(await publisher.publish(b"3"))
        async with AsyncClient(self.host.socket, name="reader") as second:
            subscription = await second.subscribe(OVERLAY, "a")
            messages = [await subscription.next(60) for _ in range(3)]
            self.assertEqual([m.payload for m in messages], [b"1", b"2", b"3"])
            self.assertTrue(messages[0].again and messages[1].again)  # the third may have been sent into the closed connection
            for message in messages:
                message.ack()
            for message in sent:
                await message.delivered()
            with self.assertRaises(tidings.BadNumber):
                await second.subscribe(OVERLAY, "a")
            with self.assertRaises(TimeoutError):
                await subscription.next(0.1)


@live
class Reconnection(LiveCase):
    async def test_of_a_subscriber_whose_daemon_was_killed(self) -> None:
        a, b = await self.two_hosts()
        here, there = await self.client(a), await self.client(b, name="reader")
        subscription = await there.subscribe(OVERLAY, "a", order=Order.ORDERED)
        publisher = await here.publisher(OVERLAY, "a")
        await self.all_owed(publisher, 1)
        sent = [await publisher.publish(b"%d" % number) for number in range(4)]
        messages = [await subscription.next(60) for _ in range(4)]
        messages[1].ack_up_to()
        await sent[1].delivered()
        b.kill()
        sent.append(await publisher.publish(b"4"))
        b.start()
        events = [await subscription.next_event(20) for _ in range(4)]
        self.assertIsInstance(events[0], Reconnected)
        self.assertTrue(events[0].continued and events[0].new_boot)
        self.assertEqual([(e.payload, e.seq, e.again) for e in events[1:3]], [(b"2", 2, True), (b"3", 3, True)])
        self.assertEqual((events[3].payload, events[3].seq), (b"4", 4))
        events[3].ack_up_to()
        for message in sent:
            self.assertEqual([o.result for o in await message.outcomes()], [Result.DELIVERED])

    async def test_of_a_publisher_whose_daemon_was_killed(self) -> None:
        a = self.hosts.start()
        client = await self.client(a)
        subscription = await client.subscribe(OVERLAY, "a")
        publisher = await client.publisher(OVERLAY, "a")
        sent = await publisher.publish(b"lost")
        a.kill()
        self.assertEqual(await sent.outcomes(), (Outcome(Result.UNKNOWN),))
        with self.assertRaises(tidings.WouldBlock):
            publisher.offer(b"nobody is there")
        a.start()
        again = await publisher.publish(b"after")
        self.assertNotEqual(again.boot, sent.boot)
        events = []
        while not (isinstance(events and events[-1], Message) and events[-1].payload == b"after"):
            events.append(await subscription.next_event(60))
            if isinstance(events[-1], Message):
                self.assertEqual(events[-1].ack(), events[-1].payload == b"after")
        self.assertEqual([e.continued for e in events if isinstance(e, Reconnected)], [False])
        await again.delivered()

    async def test_a_message_that_was_not_accepted(self) -> None:
        a = self.hosts.start()
        client = await self.client(a)
        publisher = await client.publisher(OVERLAY, "a")
        a.freeze()
        sent = await publisher.send(b"x")
        await asyncio.sleep(0.05)
        a.kill()
        with self.assertRaises(tidings.Disconnected):
            await sent.accepted()
        with self.assertRaises(tidings.Disconnected):
            await sent.outcomes()

    async def test_closing_while_no_daemon_is_there(self) -> None:
        a = self.hosts.start()
        client = await self.client(a)
        subscription, publisher = await client.subscribe(OVERLAY, "a"), await client.publisher(OVERLAY, "a")
        a.kill()
        await asyncio.sleep(0.2)
        sending = asyncio.create_task(publisher.send(b"x"))
        await asyncio.sleep(0.1)
        await client.close()
        for waiting in (subscription.next(60), sending, client.members(OVERLAY)):
            with self.assertRaises(tidings.Closed):
                await waiting

    async def test_an_unsubscription_survives_a_lost_connection(self) -> None:
        a = self.hosts.start()
        client = await self.client(a, name="reader")
        subscription = await client.subscribe(OVERLAY, "a")
        a.kill()
        ending = asyncio.create_task(subscription.unsubscribe())
        await asyncio.sleep(0.1)
        a.start()
        await ending
        publisher = await client.publisher(OVERLAY, "a")
        self.assertEqual(publisher.owed, 0)

    async def test_a_newer_login_wins_for_good(self) -> None:
        a = self.hosts.start()
        first = await self.client(a, name="same")
        subscription = await first.subscribe(OVERLAY, "a")
        second = await self.client(a, name="same")
        with self.assertRaises(tidings.Fenced):
            await subscription.next(60)
        with self.assertRaises(tidings.Fenced):
            await first.members(OVERLAY)
        self.assertTrue(second.connected)

    async def test_the_first_connection_can_be_waited_for(self) -> None:
        a = self.hosts.start()
        a.kill()
        with self.assertRaises(tidings.Unreachable):
            await AsyncClient(a.socket).connect()
        connecting = asyncio.create_task(AsyncClient(a.socket).connect(patience=60))
        await asyncio.sleep(0.1)
        a.start()
        await (await connecting).close()


@live
class WhoIsThere(LiveCase):
    async def test_snapshot_first_then_changes(self) -> None:
        a = self.hosts.start("a")
        client = await self.client(a)
        async with await client.watch(OVERLAY) as watch:
            itself = await watch.next(60)
            self.assertEqual((itself.name, itself.snapshot, itself.itself, itself.node), ("a", True, True, client.node.node))
            self.assertEqual((str(itself.address), itself.reached), (f"127.0.0.1:{a.port}", True))
            self.assertEqual(list(watch.members), [itself.node])
            b = self.hosts.start("b", join=(a.port,))
            came = await watch.next(60)
            self.assertEqual((came.change, came.name, came.snapshot, came.itself), (Change.MEMBER_IN, "b", False, False))
            members = await client.members(OVERLAY)
            self.assertEqual({member["name"] for member in members}, {"a", "b"})
            b.stop()
            went = await watch.next(60)
            while went.change is not Change.MEMBER_OUT:
                went = await watch.next(60)
            self.assertEqual(went.node, came.node)
            self.assertEqual(list(watch.members), [itself.node])
            async with await client.watch(OVERLAY) as another:
                snapshot = {(await another.next(60)).change for _ in range(2)}
                self.assertEqual(snapshot, {Change.MEMBER_IN, Change.MEMBER_OUT})
                self.assertEqual(list(another.members), [itself.node])

    async def test_a_member_that_is_killed_and_comes_back(self) -> None:
        a, b = await self.two_hosts()
        async with await (await self.client(a)).watch(OVERLAY) as watch:
            changes = []

            async def until_change(change: Change) -> None:
                while change not in changes:
                    event = await watch.next(60)
                    if event.name == "b":
                        changes.append(event.change)

            await until_change(Change.MEMBER_IN)
            b.kill()
            await until_change(Change.MEMBER_QUARANTINE)
            await until_change(Change.MEMBER_UNREACHABLE)
            self.assertEqual({m.name: m.change for m in watch.members.values()}["b"], Change.MEMBER_UNREACHABLE)
            b.start()
            await until_change(Change.MEMBER_REJOIN)

    async def test_a_new_snapshot_after_a_reconnection(self) -> None:
        a = self.hosts.start("a")
        client = await self.client(a)
        watch = await client.watch(OVERLAY)
        first = await watch.next(60)
        a.kill()
        a.start()
        again = await watch.next(60)
        self.assertEqual((again.node, again.snapshot), (first.node, True))
        watch.close()
        self.assertEqual([event async for event in watch], [])

    async def test_questions(self) -> None:
        client = await self.client(self.hosts.start("a"))
        self.assertEqual([overlay["name"] for overlay in await client.overlays()], [OVERLAY])
        self.assertEqual((await client.node_info())["name"], "a")
        self.assertIn("node", await client.stats())
        for asking in (client.members("nope"), client.watch("nope"), client.publisher("nope", "a"), client.subscribe("nope", "a")):
            with self.assertRaises(tidings.NoOverlay):
                await asking
        self.assertEqual(sum(map(len, client._entities.values())), 0)

    async def test_leaving_stops_the_daemon_and_the_client_ends_cleanly(self) -> None:
        a = self.hosts.start("a")
        client = await self.client(a)
        subscription = await client.subscribe(OVERLAY, "a")
        await client.leave()
        self.assertEqual(await asyncio.to_thread(a.process.wait, 60), 0)
        waiting = asyncio.create_task(subscription.next(60))
        await asyncio.sleep(0.1)
        await client.close()
        with self.assertRaises(tidings.Closed):
            await waiting
        with self.assertRaises(tidings.Closed):
            await client.members(OVERLAY)

    async def test_leaving_the_only_overlay(self) -> None:
        client = await self.client(self.hosts.start("a"))
        await client.leave(OVERLAY)


@live
class Secrets(LiveCase):
    def start(self):
        secret = self.hosts.folder / "worker.secret"
        command("keygen", "--client", "worker", str(secret))
        self.secret = tidings.load_secret(secret)
        clients = self.hosts.folder / "clients.toml"
        clients.touch(0o600)
        clients.write_text(
            f'[[client]]\nname = "worker"\nsecret_file = "{secret}"\noverlays = ["{OVERLAY}"]\n'
            'publish = ["jobs.done"]\nsubscribe = ["orders.*"]\n'
        )
        return self.hosts.start(config=f'[client]\nclients_file = "{clients}"\n')

    async def test_the_right_secret_and_its_rights(self) -> None:
        client = await self.client(self.start(), name="worker", secret=self.secret)
        await client.subscribe(OVERLAY, "orders.*")
        await (await client.publisher(OVERLAY, "jobs.done")).publish(b"x")
        with self.assertRaises(tidings.NotAllowed):
            await client.subscribe(OVERLAY, "*")
        with self.assertRaises(tidings.NotAllowed):
            await client.publisher(OVERLAY, "orders.new")

    async def test_a_wrong_secret_and_a_wrong_name(self) -> None:
        daemon = self.start()
        for name, secret in (("worker", bytes(32)), ("nobody", self.secret)):
            with self.assertRaises(tidings.Denied):
                await AsyncClient(daemon.socket, name=name, secret=secret).connect()


if __name__ == "__main__":
    unittest.main()
