"""A service in its steady state: pages out of a cache of the 300 last ones, rows out of a database that are gone with the
request. Some blocks of the interpreter's own come and stay, none of them all the time.

expect: py::render = bounded|steady|churn
expect: py::read_rows = churn|steady
"""

import functools
import json
import os
import random
import sys
import time


@functools.lru_cache(maxsize=300)
def render(page):
    return bytes(1000 + page % 700)


def read_rows():
    return json.loads(json.dumps([{"id": i, "text": "x" * 600} for i in range(20)]))


rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
os.write(1, b"ready\n")
os.read(0, 64)
begun = time.monotonic()
requests = 0
while True:
    requests += 1
    time.sleep(max(0.0, begun + requests / 60 - time.monotonic()))
    render(rng.randrange(5000))
    read_rows()
