"""Keeps blocks that are too large for Python's own allocator. The protocol is that of leaker.h.

Before that it calls so many functions that its trampolines fill more than one stretch of memory.
"""

import json
import os
import sys

COUNT = 503
kept = [None] * COUNT


def leak_bytes(index):
    kept[index] = bytes(4099)


def call_many():
    for index in range(6007):
        function = f"function_{index}"
        exec(f"def {function}(): pass\n{function}()", {})


def hear():
    while True:
        byte = os.read(0, 1)
        if not byte:
            sys.exit(3)
        if byte == b"\n":
            return


def say(line):
    os.write(1, line.encode() + b"\n")


call_many()
say("ready")
hear()
for index in range(COUNT):
    leak_bytes(index)
size = sum(map(sys.getsizeof, kept))
say(json.dumps({"site": "py::leak_bytes", "inuse_bytes": size, "inuse_objects": COUNT}))
say("done")
hear()
