"""Tidings from Python: a local client of the daemon, and the wire format between nodes (`tidings.wire`).

`AsyncClient` is for asyncio, `Client` for everything else. Both publish, subscribe, and tell who is there.
"""

from .client.aio import AsyncClient
from .client.blocking import Client
from .client.login import default_socket, load_secret
from .client.types import (
    Ack,
    Change,
    Event,
    Gap,
    Message,
    Order,
    Outcome,
    Policy,
    Presence,
    Reconnected,
    Redelivery,
    Result,
)
from .errors import (
    BadNumber,
    BadTopic,
    Busy,
    Closed,
    Denied,
    Disconnected,
    Failed,
    Fenced,
    Leaving,
    NoOverlay,
    NotAllowed,
    NotDelivered,
    ProtocolError,
    Refused,
    TidingsError,
    TooLarge,
    TooMany,
    Unreachable,
    VersionMismatch,
    WouldBlock,
)

__version__ = "0.1.0"

__all__ = [
    "Ack", "AsyncClient", "BadNumber", "BadTopic", "Busy", "Change", "Client", "Closed", "Denied", "Disconnected", "Event", "Failed",
    "Fenced", "Gap", "Leaving", "Message", "NoOverlay", "NotAllowed", "NotDelivered", "Order", "Outcome", "Policy", "Presence",
    "ProtocolError", "Reconnected", "Redelivery", "Refused", "Result", "TidingsError", "TooLarge", "TooMany", "Unreachable",
    "VersionMismatch", "WouldBlock", "default_socket", "load_secret",
]  # fmt: skip
