"""A peer of `demos framing serve` that knows nothing but Python's socket: peer.py PORT CODEC LEN.

It sends messages cut in every way it can think of, and asserts that each comes back turned round, in order.
"""

import random
import socket
import struct
import sys

PORT, CODEC, LEN = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
PATIENCE = 30


def wrapped(message):
    if CODEC == "delimiter":
        return message + b"\n"
    if CODEC == "fixed":
        return struct.pack(f"{LEN}s", message)
    return struct.pack("!I", len(message)) + message


def read_message(file):
    """One message from a buffered file, or None at its end."""
    if CODEC == "delimiter":
        line = file.readline()
        assert line == b"" or line.endswith(b"\n"), line
        return line[:-1] if line else None
    size = LEN
    if CODEC == "prefix":
        header = file.read(4)
        if not header:
            return None
        (size,) = struct.unpack("!I", header)
    body = file.read(size)
    if CODEC == "fixed":
        assert len(body) in (0, LEN), body
        return body.rstrip(b"\0") if body else None
    assert len(body) == size, (size, body)
    return body


def connect():
    connection = socket.create_connection(("127.0.0.1", PORT), PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection, connection.makefile("rb")


def exchange(messages, pieces):
    """Sends the pieces, and reads until the server has nothing more to say."""
    connection, file = connect()
    for piece in pieces:
        connection.sendall(piece)
    connection.shutdown(socket.SHUT_WR)
    for message in messages:
        answer = read_message(file)
        assert answer == message[::-1], (message, answer)
    assert read_message(file) is None
    connection.close()


def refused(bytes_sent, words):
    """Sends what breaks a rule, leaves the connection open, and reads why it was refused."""
    connection, file = connect()
    connection.sendall(bytes_sent)
    answer = read_message(file)
    assert answer is not None and answer.startswith(b"refused: ") and words in answer, answer
    assert read_message(file) is None
    connection.close()


random.seed(1)
letters = bytes(range(32, 127))
messages = [bytes(random.choices(letters, k=random.randrange(LEN + 1))) for _ in range(50)]
wire = b"".join(map(wrapped, messages))
exchange(messages, [wire])
exchange(messages, map(wrapped, messages))
few = [b"one", b"", b"three"]
exchange(few, [bytes([byte]) for byte in b"".join(map(wrapped, few))])
cuts = sorted(random.sample(range(len(wire)), 100))
exchange(messages, [wire[start:end] for start, end in zip([0] + cuts, cuts + [len(wire)]) if start < end])

if CODEC == "prefix":
    refused(b"\xff\xff\xff\xff", b"4294967295 bytes is longer than the limit")
    refused(struct.pack("!I", LEN + 1), b"longer than the limit")
elif CODEC == "delimiter":
    refused(b"x" * (LEN + 1), b"longer than the limit")
print("all is well")
