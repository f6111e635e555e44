"""The blocking client against real daemons, and the examples."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import unittest

from daemon import OVERLAY, Hosts, live
from vectors import HERE

import tidings
from tidings import Ack, Client, Message, Order, Reconnected, Result


@live
class Blocking(unittest.TestCase):
    def setUp(self) -> None:
        self.hosts = Hosts(self)

    def test_publish_and_subscribe(self) -> None:
        daemon = self.hosts.start()
        with Client(daemon.socket) as client:
            subscription = client.subscribe(OVERLAY, "a.*", order=Order.ORDERED, timeout=60)
            with client.publisher(OVERLAY, "a.b", timeout=60) as publisher:
                sent = [publisher.send(b"%d" % number, timeout=60) for number in range(100)]
                for number, message in zip(range(100), subscription):
                    self.assertEqual(message.payload, b"%d" % number)
                    self.assertTrue(message.ack())
                publisher.settled(timeout=60)
                self.assertEqual([o.result for s in sent for o in s.outcomes(5)], [Result.DELIVERED] * 100)
                self.assertEqual(publisher.ask_owed(timeout=60), 1)
                self.assertEqual(publisher.offer(b"x").accepted(5).owed, 1)
            with self.assertRaises(TimeoutError):
                while True:
                    subscription.next(timeout=0.1)
            subscription.unsubscribe(timeout=60)
            self.assertEqual(list(subscription), [])
            self.assertEqual([member["name"] for member in client.members(OVERLAY)], ["a"])
        with self.assertRaises(tidings.Closed):
            client.members(OVERLAY)

    def test_from_several_threads(self) -> None:
        daemon = self.hosts.start()
        with Client(daemon.socket) as client:
            subscription = client.subscribe(OVERLAY, "t.*", ack=Ack.NODE)

            def publish(number: int) -> None:
                with client.publisher(OVERLAY, f"t.{number}") as publisher:
                    for _ in range(20):
                        publisher.publish(b"x", 60)

            threads = [threading.Thread(target=publish, args=(number,)) for number in range(5)]
            for thread in threads:
                thread.start()
            topics = [subscription.next(timeout=60).topic for _ in range(100)]
            for thread in threads:
                thread.join(60)
            self.assertEqual({topic: topics.count(topic) for topic in topics}, {f"t.{number}": 20 for number in range(5)})

    def test_a_killed_daemon_comes_back(self) -> None:
        daemon = self.hosts.start()
        with Client(daemon.socket, name="reader") as client:
            subscription = client.subscribe(OVERLAY, "a")
            publisher = client.publisher(OVERLAY, "a")
            daemon.kill()
            daemon.start()
            publisher.publish(b"x", timeout=60)
            self.assertIsInstance(subscription.next_event(timeout=60), Reconnected)
            message = subscription.next_event(timeout=60)
            self.assertIsInstance(message, Message)
            self.assertTrue(message.ack())

    def test_presence(self) -> None:
        daemon = self.hosts.start("a")
        with Client(daemon.socket) as client, client.watch(OVERLAY, timeout=60) as watch:
            self.assertEqual([member.name for member in watch.members.values()], ["a"])
            self.assertTrue(watch.next(timeout=60).snapshot)
            self.hosts.start("b", join=(daemon.port,))
            self.assertEqual(next(iter(watch)).name, "b")
            with self.assertRaises(TimeoutError):
                watch.next(timeout=0.05)

    def test_nobody_answers(self) -> None:
        with self.assertRaises(tidings.Unreachable) as caught:
            Client(str(self.hosts.folder / "none.sock")).connect()
        self.assertIn("tidings run", str(caught.exception))


@live
class Examples(unittest.TestCase):
    def test_they_run(self) -> None:
        hosts = Hosts(self)
        daemon = hosts.start()
        path = os.pathsep.join(filter(None, (str(HERE.parent / "src"), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "TIDINGS_SOCKET": daemon.socket, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}

        def example(name: str, *words: str) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, str(HERE.parent / "examples" / name), *words], env=environment, stdout=subprocess.PIPE, text=True
            )
            self.addCleanup(process.stdout.close)
            self.addCleanup(process.wait, 60)
            self.addCleanup(process.kill)
            return process

        readers = [example("subscribe.py", OVERLAY, "hello.*"), example("blocking.py", OVERLAY, "hello.*")]
        for reader in readers:
            self.assertIn("subscribed", reader.stdout.readline())
        publisher = example("publish.py", OVERLAY, "hello.world", "Good news!")
        self.assertEqual(publisher.communicate(timeout=60)[0], "accepted, owed to 2\ndelivered to 2\n")
        for reader in readers:
            self.assertEqual(reader.stdout.readline(), "hello.world: Good news!\n")


if __name__ == "__main__":
    unittest.main()
