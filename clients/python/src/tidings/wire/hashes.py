"""Names of overlays and the hashes of members and clients (chapters 2.2, 2.3 and 12.4)."""

from __future__ import annotations

import hashlib
import struct

from .xxh3 import xxh3

ALIVE, SUSPECT, DEAD, LEFT = 1, 2, 3, 4
"""States of a member."""


def overlay_id(name: str) -> bytes:
    """The 16-byte id of the overlay called `name`."""
    return hashlib.sha256(b"tidings overlay/1" + name.encode()).digest()[:16]


def overlay_tag(overlay: bytes) -> bytes:
    """The 8-byte tag of the overlay with this id, as HELLO headers carry it."""
    return hashlib.sha256(b"tidings tag/1" + overlay).digest()[:8]


def steer(overlay: bytes, lane: int = 0) -> int:
    """The steer byte of HELLO and FAN headers."""
    return xxh3(overlay + bytes([lane])) & 0xFF


def client_hash(name: str) -> int:
    """What SUB_ADD carries for a client name; never 0, which stands for an unnamed client."""
    return max(1, xxh3(name.encode()))


def bucket(node: bytes) -> int:
    """The bucket, 0 to 255, that the member belongs to."""
    return xxh3(node) & 0xFF


def member_hash(node: bytes, generation: int, incarnation: int, state: int) -> int:
    """What a member adds to its bucket. A suspect member counts as alive."""
    counted = ALIVE if state == SUSPECT else state
    return xxh3(node + struct.pack("<QQB", generation, incarnation, counted))
