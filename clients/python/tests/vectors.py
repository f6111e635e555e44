"""Reads the golden vectors, and remembers which entries a test consumed."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

FOLDER = HERE.parents[2] / "wire" / "vectors"


class Record(dict):
    """One record: field name to int, str or bytes. `take` marks a field as consumed."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.untaken: set[str] = set()

    def take(self, field: str):
        self.untaken.discard(field)
        return self[field]

    def take_prefixed(self, prefix: str) -> dict:
        return {field.removeprefix(prefix): self.take(field) for field in self if field.startswith(prefix)}


def parse_value(text: str):
    if text.startswith("int "):
        return int(text[4:])
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        return text[1:-1]
    return bytes.fromhex(text)


def parse(text: str) -> list[Record]:
    """Every record of a file in order. Lines outside of records belong to one without a name."""
    records: list[Record] = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            records.append(Record(line[1:-1]))
            continue
        if not records:
            records.append(Record(""))
        name, equals, value = line.partition(" = ")
        if not equals or name in records[-1]:
            raise ValueError(f"vector line {line!r} is not `name = value`, or names a field twice")
        records[-1][name] = parse_value(value)
        records[-1].untaken.add(name)
    return records


def load(file: str) -> list[Record]:
    return parse((FOLDER / file).read_text())


def words(text: str) -> tuple[int, ...]:
    """A list of 64-bit words."""
    return tuple(int(word, 16) for word in text.split())
