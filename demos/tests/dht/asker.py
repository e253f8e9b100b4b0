"""Walks a ring of `demos dht serve` once around, and looks keys up in it, iteratively. Knows nothing of the program but
what its help says. Usage: asker.py PORT NODES"""

import bisect
import json
import random
import socket
import sys

PORT, NODES = int(sys.argv[1]), int(sys.argv[2])
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(20)
token = 0


def ask(address, kind, key, **more):
    global token
    token += 1
    host, port = address.rsplit(":", 1)
    asker.sendto(json.dumps({kind: {"token": token, "key": key, **more}}).encode(), (host, int(port)))
    while True:
        ((answer, content),) = json.loads(asker.recv(65536)).items()
        if content["token"] == token:
            return answer, content.get("nodes")


def look_up(start, key):
    steps = 0
    kind, nodes = ask(start, "step", key, avoid=[])
    while kind == "closer":
        steps += 1
        kind, nodes = ask(nodes[0]["at"], "step", key, avoid=[])
    assert kind == "owner", kind
    assert ask(nodes[0]["at"], "get", key) == ("have", None)
    return nodes[0], steps


first = f"127.0.0.1:{PORT}"
# The owner of 0 is the first of the ring; the owner of what comes after a node is the next one.
ring, (node, _) = [], look_up(first, 0)
while not ring or node["id"] != ring[0]["id"]:
    ring.append(node)
    node, _ = look_up(node["at"], (node["id"] + 1) % 2**64)
assert len(ring) == NODES, len(ring)
ids = [node["id"] for node in ring]
assert ids == sorted(ids) and first in [node["at"] for node in ring]

total = 0
for _ in range(200):
    key = random.choice([random.getrandbits(64), random.choice(ids)])
    owner, steps = look_up(random.choice(ring)["at"], key)
    assert owner == ring[bisect.bisect_left(ids, key) % NODES], (key, owner)
    total += steps
assert total / 200 < NODES.bit_length(), total
print("found 200")
