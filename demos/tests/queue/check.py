"""Checks what `demos queue --json` wrote with Python's own queue: check.py FILE."""

import json
import queue
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    report = json.load(file)
model = queue.Queue(report["capacity"])
seen = set()
for event in report["events"]:
    item = tuple(event["item"])
    if event["does"] == "put":
        assert item not in seen, event
        seen.add(item)
        model.put_nowait(item)
    else:
        assert model.get_nowait() == item, event
    assert model.qsize() == event["depth"], event
assert model.empty()
assert len(seen) == report["producers"] * report["items"], len(seen)
times = [event["at_us"] for event in report["events"]]
assert times == sorted(times)
print("all is well")
