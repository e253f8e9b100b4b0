"""Sends to an echo server and reads nothing until no more is taken, then reads, and compares all bytes.

Argument: the port. Prints `all is well` at the end.
"""

import socket
import sys

# More than the buffers of four sockets hold. 251 is prime: a piece that is missing or repeated shows.
DATA = memoryview(bytes(range(251)) * ((64 << 20) // 251))

with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) as line:
    line.settimeout(0.2)
    sent = 0
    try:
        while sent < len(DATA):
            sent += line.send(DATA[sent:])
        sys.exit(f"{sent} bytes were taken, and nobody has read any")
    except TimeoutError:
        pass
    line.settimeout(20)
    line.shutdown(socket.SHUT_WR)
    received = bytearray()
    while more := line.recv(1 << 20):
        received += more
    assert received == DATA[:sent], (sent, len(received))
print("all is well")
