"""Who may talk to whom: the socket's place, whether it is to be trusted, and the login (chapter 16, Session)."""

from __future__ import annotations

import hmac
import os
import re
import socket
import stat
import struct
from pathlib import Path
from typing import Optional

from ..errors import Denied, ProtocolError, Unreachable, refusal
from ..wire.keys import hkdf_sha256
from .frames import VERSION, Challenge, Error, Hello, Proof, Welcome
from .framing import Frame

SECRET_BYTES = 32
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,64}")


def default_socket() -> str:
    """Where the daemon of this user listens: `TIDINGS_SOCKET`, else in the user's runtime directory, else below /tmp."""
    told = os.environ.get("TIDINGS_SOCKET")
    if told:
        return told
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        runtime = f"/run/user/{os.getuid()}"
        if not os.path.isdir(runtime):
            return f"/tmp/tidings-{os.getuid()}/tidings.sock"
    return os.path.join(runtime, "tidings", "tidings.sock")


def load_secret(path: str | os.PathLike[str]) -> bytes:
    """Reads the file that `tidings keygen --client` makes. Raises `OSError`, or `ProtocolError` if it holds no secret."""
    text = Path(path).read_bytes().strip()
    if not re.fullmatch(rb"[0-9a-fA-F]{64}", text):
        raise ProtocolError(f"secret file {os.fspath(path)}: must hold 64 hex digits, as `tidings keygen --client` writes them")
    return bytes.fromhex(text.decode())


def check_listener(connection: socket.socket, path: str) -> None:
    """Raises `Unreachable` unless this uid or root listens, in a folder that nobody else may write.

    A client that proves a secret need not ask: the daemon proves that it knows the secret, too.
    """
    trusted = (os.geteuid(), 0)
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    if uid not in trusted:
        raise Unreachable(f"uid {uid} listens at {path}, not your own or root: name another socket, or log in with a secret")
    folder = os.path.dirname(os.path.abspath(path))
    status = os.stat(folder)
    if status.st_uid not in trusted:
        raise Unreachable(f"the folder {folder} belongs to uid {status.st_uid}, not to you or root: name a socket elsewhere")
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise Unreachable(f"the folder {folder} has mode {stat.S_IMODE(status.st_mode):04o}: others may replace the socket in it")


class Login:
    """The client's side of one login, without a socket: send `hello`, then give each frame that comes to `take`."""

    def __init__(self, name: str = "", secret: Optional[bytes] = None) -> None:
        if name and not _NAME.fullmatch(name):
            raise ValueError(f"client name {name!r}: 1 to 64 of a-z A-Z 0-9 . _ - are allowed")
        if secret is not None and not name:
            raise ValueError("a secret is of a name: give the client a name")
        if secret is not None and len(secret) != SECRET_BYTES:
            raise ValueError(f"a secret of {len(secret)} bytes: {SECRET_BYTES} are needed; `load_secret` reads a file")
        self._name = name
        self._key = None if secret is None else hkdf_sha256(b"tidings/1 local", secret, name.encode())
        self._nonce = os.urandom(32)
        self._challenged = False
        self.welcome: Optional[Welcome] = None

    def hello(self) -> Hello:
        """The first frame."""
        flags = 0 if self._key is None else Hello.PROVE
        return Hello(VERSION, VERSION, self._nonce, self._name, flags=flags)

    def take(self, frame: Frame) -> Optional[Frame]:
        """The frame to answer with, if any. After the daemon's WELCOME, `welcome` is set.

        Raises what the daemon refused with, `Denied` if the daemon does not know the secret, `ProtocolError` for other frames.
        """
        if isinstance(frame, Error):
            raise refusal(frame.code, frame.sentence, fatal=True)
        if isinstance(frame, Challenge) and self._key is not None and not self._challenged:
            self._challenged = True
            transcript = self._nonce + frame.nonce + frame.node + frame.boot + self._name.encode()
            if not hmac.compare_digest(frame.proof, hmac.digest(self._key, b"d" + transcript, "sha256")):
                raise Denied(f"what listens does not know the secret of {self._name}: a wrong secret, or not the daemon", fatal=True)
            return Proof(hmac.digest(self._key, b"c" + transcript, "sha256"))
        if isinstance(frame, Welcome) and self._challenged == (self._key is not None):
            if frame.version != VERSION:
                raise ProtocolError(f"WELCOME with version {frame.version}: {VERSION} was offered")
            self.welcome = frame
            return None
        raise ProtocolError(f"{type(frame).__name__} in the middle of a login")
