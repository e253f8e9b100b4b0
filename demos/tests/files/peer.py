"""Both sides of the protocol of `demos files`, from its description. Usage:

peer.py send PORT FILE [BYTES]        sends FILE to 127.0.0.1:PORT; the first connection breaks after so many BYTES
peer.py receive FOLDER [BYTES]        prints the port, receives one file; the first connection breaks after BYTES
"""

import hashlib
import json
import os
import socket
import struct
import sys
import time


def exactly(connection, length):
    parts = b""
    while len(parts) < length:
        part = connection.recv(length - len(parts))
        if not part:
            return None
        parts += part
    return parts


def say(connection, message):
    text = json.dumps(message).encode()
    connection.sendall(struct.pack(">I", len(text)) + text)


def hear(connection):
    (length,) = struct.unpack(">I", exactly(connection, 4))
    return json.loads(exactly(connection, length))


def send(port, path, breaks_after=None):
    content = open(path, "rb").read()
    offer = {"name": os.path.basename(path), "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=20) as connection:
            say(connection, offer)
            answer = hear(connection)
            if answer.get("refused", {}).get("again"):
                # The receiver hasn't seen the end of the connection that broke.
                time.sleep(0.01)
                continue
            if "send_from" not in answer:
                return print(json.dumps(answer))
            place = answer["send_from"]
            if breaks_after is not None:
                connection.sendall(content[place : place + int(breaks_after)])
                breaks_after = None
                continue
            connection.sendall(content[place:])
            return print(place, json.dumps(hear(connection)))
    sys.exit("it was refused for too long")


def receive(folder, breaks_after=None):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)
    print(listener.getsockname()[1], flush=True)
    content = b""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            offer = hear(connection)
            say(connection, {"send_from": len(content)})
            if breaks_after is not None:
                content += exactly(connection, int(breaks_after))
                breaks_after = None
                continue
            content += exactly(connection, offer["size"] - len(content))
            if hashlib.sha256(content).hexdigest() != offer["sha256"]:
                say(connection, {"refused": {"why": "digest", "again": False}})
                sys.exit("another digest")
            with open(os.path.join(folder, offer["name"]), "wb") as file:
                file.write(content)
            say(connection, {"received": {"bytes": len(content)}})
            return print("received", offer["name"])


{"send": send, "receive": receive}[sys.argv[1]](*sys.argv[2:])
