"""A client of `demos rpc serve --max-calls 4 --max-time 20` that shares no code with it: Python's socket, struct and json.

Argument: the port. Prints `all is well` at the end.
"""

import json
import socket
import struct
import sys
import time

PORT = int(sys.argv[1])


class Line:
    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", PORT), 20)

    def send(self, message, pieces=1 << 20):
        body = json.dumps(message).encode()
        frame = struct.pack(">I", len(body)) + body
        for start in range(0, len(frame), pieces):
            self.socket.sendall(frame[start : start + pieces])

    def call(self, number, method, pieces=1 << 20, **arguments):
        self.send({"call": number, "method": "Hello." + method, "arguments": arguments}, pieces)

    def receive(self, count):
        received = b""
        while len(received) < count:
            more = self.socket.recv(count - len(received))
            if not more:
                raise EOFError(received)
            received += more
        return received

    def reply(self):
        (length,) = struct.unpack(">I", self.receive(4))
        return json.loads(self.receive(length))

    def expect(self, number, result):
        reply = self.reply()
        assert reply == {"reply": number, "result": result}, reply

    def expect_error(self, number, kind):
        reply = self.reply()
        assert reply["reply"] == number and reply["error"]["kind"] == kind and reply["error"]["text"], reply

    def expect_end(self):
        assert self.socket.recv(1) == b""


def greeting(name, ms):
    return f"Hello, {name}, after {ms} ms!"


line = Line()
line.call(7, "SayHello", name="Ada")
line.expect(7, "Hello, Ada!")
line.call(8, "SayHello", pieces=1, name="J\u00f6rg \U0001f600")
line.expect(8, "Hello, J\u00f6rg \U0001f600!")

# Each in its own time, all on one connection.
for number, ms in [(1, 300), (2, 200), (3, 100)]:
    line.call(number, "SayHelloLater", name=str(number), ms=ms)
for number, ms in [(3, 100), (2, 200), (1, 300)]:
    line.expect(number, greeting(number, ms))

# Errors, none of which ends the connection.
line.call(1, "SayGoodbye")
line.expect_error(1, "unknown_method")
line.send({"call": 2, "method": "Hell.SayHello", "arguments": {}})
line.expect_error(2, "unknown_method")
for wrong in [{}, {"name": 1}, {"name": "Ada", "age": 36}]:
    line.call(3, "SayHello", **wrong)
    line.expect_error(3, "bad_arguments")
line.call(4, "SayHello", name="")
line.expect_error(4, "failed")
line.call(5, "Crash")
line.expect_error(5, "panicked")

# Limits.
for number in range(4):
    line.call(number, "SayHelloLater", name="Eve", ms=60000)
line.call(3, "SayHello", name="Ada")
line.expect_error(3, "number_in_use")
line.call(4, "SayHello", name="Ada")
line.expect_error(4, "busy")

# A cancelled call gets no reply, and its place is free; one that is not there is no error.
for number in [0, 1, 2, 3, 99]:
    line.send({"cancel": number})
line.call(4, "SayHello", name="Ada")
line.expect(4, "Hello, Ada!")


def count():
    line.call(5, "Count")
    reply = line.reply()
    assert reply["reply"] == 5, reply
    return reply["result"]


def wait_for(cancelled):
    deadline = time.monotonic() + 20
    while count()["cancelled"] != cancelled:
        assert time.monotonic() < deadline, count()


wait_for(4)

# Who breaks its connection has its calls cancelled; who ends its side gets its replies.
gone = Line()
gone.call(1, "SayHelloLater", name="Eve", ms=60000)
gone.call(2, "SayHello", name="Ada")
gone.expect(2, "Hello, Ada!")
gone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
gone.socket.close()
wait_for(5)
done = Line()
done.call(1, "SayHelloLater", name="Ada", ms=100)
done.socket.shutdown(socket.SHUT_WR)
done.expect(1, greeting("Ada", 100))
done.expect_end()

# What is no message is refused in words, and the connection ends: nobody knows where the next message begins.
for bad in [b"\xff\xff\xff\xff", b"\0\x10\0\1", b"\0\0\0\4GET ", b"\0\0\0\2{}", b"\0\0\0\3[1]", b"\0\0\0\0"]:
    line_of_fool = Line()
    line_of_fool.socket.sendall(bad)
    line_of_fool.expect_error(None, "bad_message")
    line_of_fool.expect_end()
cut = Line()
cut.socket.sendall(b"\0\0\0\x50{")
cut.socket.shutdown(socket.SHUT_WR)
cut.expect_error(None, "bad_message")
cut.expect_end()

line.call(1, "SayHello", name="Ada")
line.expect(1, "Hello, Ada!")
print("all is well")
