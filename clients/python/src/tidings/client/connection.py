"""One connection to the daemon, from login to its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Awaitable, Callable, Optional

from ..errors import Disconnected, Unreachable, refusal
from .frames import KINDS, Ack, Error, Publish, Welcome, decode_frame
from .framing import Frame, FrameCutter
from .login import Login, check_listener

LOGIN_SECONDS = 10.0
CLOSE_SECONDS = 1.0
READ_BYTES = 256 << 10


class Connection:
    """Frames in and out. What is sent within one turn of the event loop is written together."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._cutter = FrameCutter()
        self._out: list[bytes] = []
        self._ack: Optional[Ack] = None
        self._early: list[Frame] = []
        self._loop = asyncio.get_running_loop()
        self._spent = 0
        self.credit = 0
        self.welcome: Welcome

    @staticmethod
    async def open(path: str, login: Login, *, trust_anyone: bool) -> Connection:
        """Connects and logs in. Raises `Unreachable`, or what the daemon refuses with."""
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            plain.setblocking(False)
            await asyncio.get_running_loop().sock_connect(plain, path)
            if not trust_anyone:
                check_listener(plain, path)
            reader, writer = await asyncio.open_unix_connection(sock=plain)
        except BaseException as error:
            plain.close()
            if isinstance(error, OSError) and not isinstance(error, Unreachable):
                raise Unreachable(f"no daemon answers at {path} ({error}): start one with `tidings run`, or name its socket") from error
            raise
        connection = Connection(reader, writer)
        try:
            await asyncio.wait_for(connection._log_in(login), LOGIN_SECONDS)
        except BaseException as error:
            connection.close()
            if isinstance(error, asyncio.TimeoutError):
                raise Unreachable(f"the daemon at {path} does not answer a login within {LOGIN_SECONDS:.0f} s") from None
            if isinstance(error, Disconnected):
                raise Unreachable(f"the daemon at {path} hung up during the login") from None
            raise
        return connection

    async def _log_in(self, login: Login) -> None:
        self.send(login.hello())
        while login.welcome is None:
            for frame in await self._read():
                if login.welcome is not None:
                    self._early.append(frame)
                    continue
                reply = login.take(frame)
                if reply is not None:
                    self.send(reply)
        self.welcome = login.welcome
        self.credit = self.welcome.credit

    async def run(self, take: Callable[[Frame], None], room: Callable[[], Awaitable[None]]) -> None:
        """Gives each frame to `take`, and waits for `room` before it reads on. Ends by raising why the connection ended."""
        frames = self._early
        while True:
            for frame in frames:
                if isinstance(frame, Error) and frame.flags & Error.FATAL:
                    raise refusal(frame.code, frame.sentence, fatal=True)
                take(frame)
            await room()
            frames = await self._read()

    async def _read(self) -> list[Frame]:
        """The next frames of known kinds. Raises `Disconnected` at the end, `ProtocolError` for what is malformed."""
        try:
            data = await self._reader.read(READ_BYTES)
        except OSError as error:
            raise Disconnected(f"the connection to the daemon broke: {error}") from None
        if not data:
            raise Disconnected("the daemon closed the connection")
        return [decode_frame(kind, flags, body) for kind, flags, body in self._cutter.feed(data) if kind in KINDS]

    def send(self, frame: Frame) -> None:
        """Sends a frame with the others of this turn."""
        self._settle_ack()
        self._push(frame.encode())

    def has_room(self, frame_bytes: int) -> bool:
        """Whether the connection's credit covers another PUBLISH frame of this size."""
        return self._spent + frame_bytes <= self.credit

    def publish(self, frame: Publish) -> None:
        """Sends a PUBLISH frame; `has_room` was asked before."""
        data = frame.encode()
        self._spent += len(data)
        self._settle_ack()
        self._push(data)

    def acknowledge(self, ack: Ack) -> None:
        """Sends an acknowledgement; those that adjoin become one."""
        held = self._ack
        if held is not None and _publisher(held) == _publisher(ack) and 0 < ack.first == held.last + 1:
            self._ack = Ack(ack.sub, ack.handle, ack.node, ack.boot, held.first, ack.last, ack.session_epoch)
            return
        self._settle_ack()
        self._ack = ack
        self._schedule_flush()

    def close(self) -> None:
        """Closes it; what was sent is still written."""
        self._flush()
        self._writer.close()

    async def wait_closed(self) -> None:
        """Waits until what was sent is written, or cannot be."""
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), CLOSE_SECONDS)

    def _settle_ack(self) -> None:
        if self._ack is not None:
            ack, self._ack = self._ack, None
            self._push(ack.encode())

    def _push(self, data: bytes) -> None:
        self._schedule_flush()
        self._out.append(data)

    def _schedule_flush(self) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._settle_ack()
        if self._out and not self._writer.is_closing():
            self._writer.write(b"".join(self._out))
        self._out.clear()


def _publisher(ack: Ack) -> tuple[int, int, bytes, bytes]:
    return ack.sub, ack.handle, ack.node, ack.boot
