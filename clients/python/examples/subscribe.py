"""Shows messages, gaps and reconnections: subscribe.py OVERLAY PATTERN [NAME]

With a name the subscription outlives this program for a while: start it again, and nothing was missed.
"""

import asyncio
import sys

from tidings import AsyncClient, Gap, Message, Order, Reconnected


async def main(overlay: str, pattern: str, name: str = "") -> None:
    async with AsyncClient(name=name) as client:
        subscription = await client.subscribe(overlay, pattern, order=Order.ORDERED)
        print("subscribed to", pattern)
        async for event in subscription.events():
            if isinstance(event, Message):
                print(f"{event.topic}: {event.payload.decode(errors='replace')}{' (again)' if event.again else ''}")
                event.ack()
            elif isinstance(event, Gap):
                print(f"{event.count} messages of {event.topic} will never come: {event.reason!r}")
            elif isinstance(event, Reconnected):
                print("connected again:", "the subscription went on" if event.continued else "some may have been missed")


asyncio.run(main(*sys.argv[1:4]))
