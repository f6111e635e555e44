"""The local client: over the Unix socket of a daemon on this host (chapter 16 of `wire/SPEC.md`)."""
