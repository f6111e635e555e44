"""Real daemons on loopback for the live tests. They need the environment variable TIDINGS_BIN."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import vectors  # noqa: F401  puts the package on the path

logging.getLogger("tidings").setLevel(logging.CRITICAL)

BIN = os.environ.get("TIDINGS_BIN", "")
OVERLAY = "demo"

live = unittest.skipUnless(BIN, "no live test runs: set TIDINGS_BIN to the path of a `tidings` daemon")
"""Skips a test, saying why, unless there is a daemon to test with."""


class BoundedCase(unittest.IsolatedAsyncioTestCase):
    """Asynchronous tests that end in time."""

    SECONDS = 180

    def _callTestMethod(self, method) -> None:
        async def bounded() -> None:
            asyncio.get_running_loop().set_debug(False)  # it slows 10,000 messages down by far
            await asyncio.wait_for(method(), self.SECONDS)

        super()._callTestMethod(bounded)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(*words: str, timeout: float = 60) -> str:
    """Runs the daemon's binary as a command and returns what it wrote."""
    done = subprocess.run([BIN, *words], capture_output=True, text=True, timeout=timeout, check=True)
    return done.stdout


class Daemon:
    """One daemon with a folder of its own. Kept across restarts: identity, port, socket."""

    def __init__(self, folder: Path, key: Path, name: str, *, join: tuple[int, ...] = (), config: str = "") -> None:
        self.name = name
        self.port = free_port()
        self.folder = folder / name
        self.folder.mkdir(mode=0o700)
        self.socket = str(self.folder / "t.sock")
        self.key = key
        self.join = join
        self.config = config
        self.process: subprocess.Popen | None = None

    def start(self) -> Daemon:
        """Starts it and waits until its socket takes connections."""
        words = ["run", "--data-dir", str(self.folder), "--bind", f"127.0.0.1:{self.port}", "--name", self.name, "--shards", "1", "--http", "off"]
        words += ["--overlay", OVERLAY, "--key-file", str(self.key), "--socket", self.socket]
        if self.join:
            words += ["--join", *(f"127.0.0.1:{port}" for port in self.join)]
        if self.config:
            file = self.folder / "tidings.toml"
            file.write_text(self.config)
            words += ["--config", str(file)]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen([BIN, *words], stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + 60
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"the daemon {self.name} does not come up:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.02)
        return self

    def kill(self) -> None:
        """Ends it as kill -9 does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)

    def freeze(self) -> None:
        """Stops it in its tracks; returns when it stands still."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def stop(self) -> None:
        """Ends it gracefully."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(60)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.socket)
            except OSError:
                return False
            return True


class Hosts:
    """Makes daemons that share an overlay, and cleans up after them."""

    def __init__(self, test: unittest.TestCase) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="py-"))
        test.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self._test = test
        self.key = self.folder / "overlay.key"
        command("keygen", str(self.key))

    def start(self, name: str = "a", *, join: tuple[int, ...] = (), config: str = "") -> Daemon:
        daemon = Daemon(self.folder, self.key, name, join=join, config=config)
        self._test.addCleanup(daemon.kill)
        return daemon.start()
