"""Publishes one message and tells what became of it: publish.py OVERLAY TOPIC MESSAGE"""

import asyncio
import sys

from tidings import AsyncClient


async def main(overlay: str, topic: str, text: str) -> None:
    async with AsyncClient() as client, await client.publisher(overlay, topic) as publisher:
        sent = await publisher.publish(text.encode())
        print("accepted, owed to", sent.owed)
        await sent.delivered()
        print("delivered to", sent.owed)


asyncio.run(main(*sys.argv[1:4]))
