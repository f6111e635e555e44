"""The wire format between nodes: chapters 2 to 8 and 14 of `wire/SPEC.md`, without sockets and clocks.

| module | what |
|---|---|
| `hashes`, `xxh3`, `siphash` | ids, tags and hashes |
| `topics` | topics and patterns |
| `keys`, `keyring` | suites, key schedule, the keyring file |
| `headers` | the four header layouts |
| `codec`, `hello`, `pair`, `control`, `bulk`, `fan` | digests |
| `body` | runs of digests |
| `seal` | sealing and opening datagrams |
| `window` | replay windows |
| `handshake` | both sides of the handshake |
"""
