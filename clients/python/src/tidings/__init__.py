"""Tidings from Python: a local client of the daemon, and the wire format between nodes."""

__version__ = "0.1.0"
