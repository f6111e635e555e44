"""Every error that this package raises on purpose. All of them are `TidingsError`."""

from __future__ import annotations


class TidingsError(Exception):
    """The root of all errors of this package."""


class ProtocolError(TidingsError, ValueError):
    """Bytes from a peer, the daemon or a file do not follow the specification.

    Nothing else is ever raised for malformed input. The message names the thing, the value and what would be right.
    """


class Unreachable(TidingsError, ConnectionError):
    """No daemon answers at the socket, or what listens there is not to be trusted."""


class Disconnected(TidingsError, ConnectionError):
    """The connection to the daemon ended before the answer came: what was asked may or may not have happened."""


class Closed(TidingsError):
    """The client, publisher, subscription or watch was closed by this program."""


class WouldBlock(TidingsError):
    """The daemon grants no room for this message now. Wait for it with `send`, or drop the message."""


class NotDelivered(TidingsError):
    """At least one subscription did not get the message; `outcomes` tells which and why."""

    def __init__(self, text: str, outcomes: tuple[object, ...]) -> None:
        super().__init__(text)
        self.outcomes = outcomes


class Refused(TidingsError):
    """The daemon refused a frame. There is one subclass for each code of the specification.

    `code` is the number on the wire, `sentence` what the daemon said, `fatal` whether the connection ended with it.
    """

    code = 0

    def __init__(self, sentence: str, *, fatal: bool = False) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.fatal = fatal


class RefusedProtocol(Refused):
    """The daemon could not make sense of a frame: a fault of this package or of the daemon."""

    code = 1


class VersionMismatch(Refused):
    """The daemon speaks no version of the local protocol that this package speaks: update the older of both."""

    code = 2


class Denied(Refused):
    """The daemon does not admit this client: another uid without a secret, an unknown name or a wrong secret."""

    code = 3


class Fenced(Refused):
    """Another process logged in under the same name. The newer login wins; this client does not come back."""

    code = 4


class NotAllowed(Refused):
    """The daemon's client file does not grant this overlay, topic or pattern to this client."""

    code = 5


class NoOverlay(Refused):
    """The daemon runs no overlay of this name."""

    code = 6


class BadTopic(Refused):
    """The topic or pattern is not one."""

    code = 7


class TooLarge(Refused):
    """The message is larger than the overlay's `max_message`."""

    code = 8


class TooMany(Refused):
    """A limit of the daemon on publishers, subscriptions or clients is reached."""

    code = 9


class Busy(Refused):
    """The daemon wants to be asked again a little later."""

    code = 10


class Leaving(Refused):
    """The node leaves the overlay, or the daemon stops."""

    code = 11


class BadNumber(Refused):
    """A number was used twice or never made: a fault of this package or of the daemon."""

    code = 12


class Failed(Refused):
    """The daemon could not do it; the sentence tells why."""

    code = 13


_BY_CODE: dict[int, type[Refused]] = {
    kind.code: kind
    for kind in (
        RefusedProtocol, VersionMismatch, Denied, Fenced, NotAllowed, NoOverlay, BadTopic, TooLarge, TooMany, Busy, Leaving,
        BadNumber, Failed,
    )
}


def refusal(code: int, sentence: str, *, fatal: bool = False) -> Refused:
    """The error for a code; a code of a later version becomes a plain `Refused`."""
    kind = _BY_CODE.get(code)
    if kind is None:
        error = Refused(f"{sentence} (error code {code})", fatal=fatal)
        error.code = code
        return error
    return kind(sentence, fatal=fatal)
