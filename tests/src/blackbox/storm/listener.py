"""A subscriber of a storm in another language: what `clients.rs` does, with the Python client and the same lines of log.

listener.py SOCKET OVERLAY PATTERN NAME LOG
"""

import asyncio
import json
import sys
import time
import zlib

from tidings import AsyncClient, Gap, Message, Order, Reconnected, TidingsError


class Log:
    def __init__(self, path: str, client: str) -> None:
        self.file, self.client, self.session = open(path, "w", buffering=1), client, 0
        self.began = time.monotonic()

    def note(self, what: str, **fields: object) -> None:
        at = int((time.monotonic() - self.began) * 1000)
        entry = {"at": at, "client": self.client, "session": self.session, "what": what}
        self.file.write(json.dumps({**entry, **fields}) + "\n")

    def attached(self, client: AsyncClient) -> None:
        self.session += 1
        try:
            node, boot = client.node.node.hex(), client.node.boot.hex()
        except TidingsError:
            node, boot = "gone again", str(self.session)
        self.note("attached", node=node, boot=boot)


def named(payload: bytes) -> tuple[str, int]:
    publisher, _, number = payload.partition(b"\n")[0].partition(b" ")
    return (publisher.decode(), int(number)) if number.isdigit() else ("", 0)


async def main(socket: str, overlay: str, pattern: str, name: str, path: str) -> None:
    log = Log(path, name)
    log.note("subscribe", pattern=pattern, ordered=True)
    client = await AsyncClient(socket, name=name).connect(patience=None)
    log.attached(client)
    subscription = await client.subscribe(overlay, pattern, order=Order.ORDERED)
    async for event in subscription.events():
        if isinstance(event, Reconnected):
            log.note("lost", why=event.reason)
            log.attached(client)
            continue
        origin = [event.node.hex(), event.boot.hex(), event.handle]
        if isinstance(event, Gap):
            log.note("gap", origin=origin, **{"from": event.seq}, count=event.count, reason=getattr(event.reason, "name", str(event.reason)))
        elif isinstance(event, Message):
            publisher, number = named(event.payload)
            log.note(
                "got", topic=event.topic, origin=origin, seq=event.seq, again=event.again, publisher=publisher, id=number,
                bytes=len(event.payload), hash=zlib.crc32(event.payload),
            )  # fmt: skip
            log.note("acked", origin=origin, seq=event.seq)
            event.ack()


asyncio.run(main(*sys.argv[1:6]))
