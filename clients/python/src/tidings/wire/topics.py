"""Topics and patterns (chapter 2.4)."""

from __future__ import annotations

from ..errors import ProtocolError

MAX_BYTES = 255


def check_topic(topic: str) -> None:
    """Raises `ProtocolError` unless `topic` is one: parts joined by dots, as `orders.new`."""
    _check_size("topic", topic)
    if "*" in topic:
        raise ProtocolError(f"topic {topic!r} holds a `*`: only patterns may")
    _check_parts("topic", topic)


def check_pattern(pattern: str) -> None:
    """Raises `ProtocolError` unless `pattern` is a topic, a topic followed by `.*`, or `*`."""
    _check_size("pattern", pattern)
    if pattern == "*":
        return
    stem = pattern.removesuffix(".*")
    if "*" in stem:
        raise ProtocolError(f"pattern {pattern!r}: a `*` stands alone or at the end after a dot")
    _check_parts("pattern", stem)


def selects(pattern: str, topic: str) -> bool:
    """Whether a valid pattern selects a valid topic."""
    if pattern == "*":
        return True
    if pattern.endswith(".*"):
        return topic.startswith(pattern[:-1])
    return topic == pattern


def has_control_character(text: str) -> bool:
    """Whether the text holds U+0000-U+001F or U+007F-U+009F."""
    return any(character <= "\x1f" or "\x7f" <= character <= "\x9f" for character in text)


def _check_size(what: str, text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ProtocolError(f"{what} {text!r} is not UTF-8") from None
    if not 1 <= size <= MAX_BYTES:
        raise ProtocolError(f"{what} {text!r} has {size} bytes: 1 to {MAX_BYTES} are allowed")


def _check_parts(what: str, text: str) -> None:
    if "" in text.split("."):
        raise ProtocolError(f"{what} {text!r} has an empty part: dots stand between parts only")
    if has_control_character(text):
        raise ProtocolError(f"{what} {text!r} holds a control character")
