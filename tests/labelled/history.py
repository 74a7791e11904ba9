"""A service that appends each request to a list for its statistics page. The list's own array is replaced ever more rarely,
so it may be called anything.

expect: py::copy_request = leaking
expect: py::remember = any
expect: py::answer = churn|steady
rate: py::copy_request = 40660
"""

import os
import sys
import time

history = []


def copy_request():
    # With 33 bytes of its own.
    return bytes(2000)


def remember(request):
    history.append(request)


def answer():
    return bytearray(5000)


os.write(1, b"ready\n")
os.read(0, 64)
begun = time.monotonic()
requests = 0
while True:
    requests += 1
    time.sleep(max(0.0, begun + requests / 20 - time.monotonic()))
    remember(copy_request())
    answer()
