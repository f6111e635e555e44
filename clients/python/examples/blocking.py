"""The same without asyncio: blocking.py OVERLAY PATTERN"""

import sys

from tidings import Client

overlay, pattern = sys.argv[1:3]
with Client() as client:
    subscription = client.subscribe(overlay, pattern)
    print("subscribed to", pattern)
    for message in subscription:
        print(f"{message.topic}: {message.payload.decode(errors='replace')}")
        message.ack()
