"""Waking whoever waits for a change of state."""

from __future__ import annotations

import asyncio


class Signal:
    """`wait` sleeps until the next `notify`. Whoever waits looks at the state again then."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Sleeps until `notify`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def notify(self) -> None:
        """Wakes all that wait now."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
