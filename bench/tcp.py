"""One TCP connection with CUBIC that sends as much as it can: what a stream over a far path is compared with.

usage: tcp.py receive PORT WARMUP SECONDS   prints the megabits per second after the warm-up
       tcp.py send HOST PORT SECONDS
"""

import socket
import sys
import time


def receive(port, warm_up, seconds):
    listener = socket.create_server(("", port))
    connection, _ = listener.accept()
    buffer = bytearray(1 << 20)
    begin = time.monotonic() + warm_up
    received = 0
    while (count := connection.recv_into(buffer)) > 0:
        now = time.monotonic()
        if now >= begin:
            received += count
        if now >= begin + seconds:
            break
    print(f"{received * 8e-6 / (time.monotonic() - begin):.1f}")


def send(host, port, seconds):
    end = time.monotonic() + seconds
    while True:
        connection = socket.socket()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        try:
            connection.connect((host, port))
            break
        except ConnectionRefusedError:
            # The other side has not begun yet.
            connection.close()
            if time.monotonic() >= end:
                raise
            time.sleep(0.05)
    block = bytes(1 << 18)
    try:
        while time.monotonic() < end:
            connection.sendall(block)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has measured enough


if sys.argv[1] == "receive":
    receive(int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
else:
    send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
