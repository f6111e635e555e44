"""XXH3 with 64-bit output and seed 0, for the short inputs that this protocol hashes.

Ids, member records and client names are at most 64 bytes; nothing here hashes more.
"""

from __future__ import annotations

MAX_INPUT = 64

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_PRIME64_1 = 0x9E3779B185EBCA87
_PRIME64_2 = 0xC2B2AE3D27D4EB4F
_PRIME64_3 = 0x165667B19E3779F9
_PRIME_MX1 = 0x165667919E3779F9
_PRIME_MX2 = 0x9FB21C651E98DF25

# The start of XXH3's default secret; inputs of up to 64 bytes use no more.
_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb"
)


def xxh3(data: bytes) -> int:
    """XXH3-64 of `data`, at most `MAX_INPUT` bytes. Raises `ValueError` above that."""
    size = len(data)
    if size == 0:
        return _avalanche64(_secret64(56) ^ _secret64(64))
    if size <= 3:
        return _hash_1_to_3(data)
    if size <= 8:
        return _hash_4_to_8(data)
    if size <= 16:
        return _hash_9_to_16(data)
    if size <= MAX_INPUT:
        return _hash_17_to_64(data)
    raise ValueError(f"xxh3 of {size} bytes: this implementation takes at most {MAX_INPUT}")


def _hash_1_to_3(data: bytes) -> int:
    size = len(data)
    combined = data[0] << 16 | data[size >> 1] << 24 | data[-1] | size << 8
    return _avalanche64(combined ^ (_secret32(0) ^ _secret32(4)))


def _hash_4_to_8(data: bytes) -> int:
    size = len(data)
    first = int.from_bytes(data[:4], "little")
    last = int.from_bytes(data[-4:], "little")
    mixed = (last + (first << 32)) ^ (_secret64(8) ^ _secret64(16))
    mixed ^= _rotate(mixed, 49) ^ _rotate(mixed, 24)
    mixed = mixed * _PRIME_MX2 & _MASK
    mixed ^= (mixed >> 35) + size & _MASK
    mixed = mixed * _PRIME_MX2 & _MASK
    return mixed ^ mixed >> 28


def _hash_9_to_16(data: bytes) -> int:
    low = int.from_bytes(data[:8], "little") ^ _secret64(24) ^ _secret64(32)
    high = int.from_bytes(data[-8:], "little") ^ _secret64(40) ^ _secret64(48)
    swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
    return _avalanche3(len(data) + swapped + high + _fold(low, high))


def _hash_17_to_64(data: bytes) -> int:
    size = len(data)
    total = size * _PRIME64_1
    for pair in reversed(range((size + 31) // 32)):
        total += _mix16(data[16 * pair :], 32 * pair)
        total += _mix16(data[size - 16 * (pair + 1) :], 32 * pair + 16)
    return _avalanche3(total)


def _mix16(data: bytes, secret_at: int) -> int:
    low = int.from_bytes(data[:8], "little") ^ _secret64(secret_at)
    high = int.from_bytes(data[8:16], "little") ^ _secret64(secret_at + 8)
    return _fold(low, high)


def _fold(a: int, b: int) -> int:
    product = a * b
    return product & _MASK ^ product >> 64


def _avalanche3(value: int) -> int:
    value &= _MASK
    value ^= value >> 37
    value = value * _PRIME_MX1 & _MASK
    return value ^ value >> 32


def _avalanche64(value: int) -> int:
    value ^= value >> 33
    value = value * _PRIME64_2 & _MASK
    value ^= value >> 29
    value = value * _PRIME64_3 & _MASK
    return value ^ value >> 32


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & _MASK


def _secret32(at: int) -> int:
    return int.from_bytes(_SECRET[at : at + 4], "little")


def _secret64(at: int) -> int:
    return int.from_bytes(_SECRET[at : at + 8], "little")
