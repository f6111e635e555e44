"""The keyring of an overlay and its file (chapter 3)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import ProtocolError
from .keys import Record, Suite

FIRST_LINE = "tidings-keyring 1"
_SUITES = {suite.text: suite for suite in Suite}


@dataclass(frozen=True)
class Keyring:
    """One to eight records, one of which, `primary`, seals what is new. All open."""

    records: tuple[Record, ...]
    primary: Record

    def __post_init__(self) -> None:
        slots = [record.slot for record in self.records]
        if not self.records or len(set(slots)) != len(slots):
            raise ProtocolError(f"a keyring with the slots {slots}: one record or more, each in a slot of its own")
        if self.primary not in self.records:
            raise ProtocolError("the primary record of a keyring is one of its records")

    def record(self, slot: int) -> Record:
        """The record in a slot. Raises `ProtocolError` if it is empty."""
        for record in self.records:
            if record.slot == slot:
                return record
        raise ProtocolError(f"no key in slot {slot}")

    @staticmethod
    def parse(text: str) -> Keyring:
        """Reads the text of a keyring file. Raises `ProtocolError`, which never quotes a key."""
        lines = text.removesuffix("\n").split("\n")
        if lines[0] != FIRST_LINE:
            raise ProtocolError(f"keyring, line 1: must be `{FIRST_LINE}`")
        records: list[Record] = []
        primaries: list[Record] = []
        for number, line in enumerate(lines[1:], start=2):
            words = line.partition("#")[0].split()
            if not words:
                continue
            record, is_primary = _parse_record(number, words)
            if any(other.slot == record.slot for other in records):
                raise ProtocolError(f"keyring, line {number}: slot {record.slot} has a key already")
            records.append(record)
            if is_primary:
                primaries.append(record)
        if len(primaries) != 1:
            raise ProtocolError(f"keyring: {len(primaries)} primary keys, exactly one is needed")
        return Keyring(tuple(records), primaries[0])

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Keyring:
        """Reads a keyring file. Raises `OSError` if it cannot be read, `ProtocolError` if it is not one."""
        try:
            return Keyring.parse(Path(path).read_bytes().decode())
        except UnicodeDecodeError:
            raise ProtocolError(f"keyring {os.fspath(path)}: not UTF-8 text") from None

    def format(self) -> str:
        """The text of a keyring file with these records. It is a secret."""
        lines = [FIRST_LINE]
        for record in self.records:
            role = "primary" if record == self.primary else "installed"
            lines.append(f"{record.slot} {record.suite.text} {role} {record.key.hex()}")
        return "\n".join(lines) + "\n"


def _parse_record(number: int, words: list[str]) -> tuple[Record, bool]:
    where = f"keyring, line {number}"
    if len(words) != 4:
        raise ProtocolError(f"{where}: {len(words)} words, must be SLOT SUITE ROLE KEY")
    slot, suite, role, key = words
    if slot not in set("01234567"):
        raise ProtocolError(f"{where}: slot {slot!r} must be one digit 0-7")
    if suite not in _SUITES:
        raise ProtocolError(f"{where}: suite {suite!r} must be one of {', '.join(_SUITES)}")
    if role not in ("primary", "installed"):
        raise ProtocolError(f"{where}: role {role!r} must be primary or installed")
    if len(key) != 64 or not set(key) <= set("0123456789abcdefABCDEF"):
        raise ProtocolError(f"{where}: the key must be 64 hex digits")
    return Record(int(slot), _SUITES[suite], bytes.fromhex(key)), role == "primary"
