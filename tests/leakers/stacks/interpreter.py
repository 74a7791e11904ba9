# CPython between a program and malloc: the interpreter's loop, C functions that call back, exceptions, generators,
# regular expressions, libffi's closures. With PYTHONMALLOC=malloc every object is a call of malloc.

import ctypes
import functools
import gc
import json
import re
import sys

gc.disable()
libc = ctypes.CDLL(None)
compare_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))


@compare_type
def compare(left, right):
    return left[0] - right[0]


class Node:
    def __init__(self, depth):
        self.children = [Node(depth - 1)] if depth else []

    def __repr__(self):
        return "<%s>" % ",".join(map(repr, self.children))

    def __lt__(self, other):
        return len(repr(self)) < len(repr(other))


def generator(depth):
    yield bytearray(600 + depth)
    if depth:
        yield from generator(depth - 1)


def raising(depth):
    try:
        if depth == 0:
            raise ValueError("x" * 700)
        raising(depth - 1)
    except ValueError as error:
        raise KeyError(depth) from error


@functools.lru_cache(maxsize=None)
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def work():
    kept = [Node(3), Node(1), Node(2)]
    kept.sort()
    array = (ctypes.c_int * 4)(3, 1, 4, 2)
    libc.qsort(array, 4, ctypes.sizeof(ctypes.c_int), compare)
    kept += generator(3)
    kept.append(re.sub(r"(a|b)*c", lambda match: match.group(0) * 300, "abc" * 3))
    kept.append(json.loads(json.dumps({"a": [1, {"b": ["x" * 600]}]})))
    try:
        raising(3)
    except KeyError as error:
        kept.append(error)
    kept.append(fibonacci(20))
    kept.append(sorted(range(50), key=lambda n: str(n) * 200))
    kept.append(eval("[bytearray(n) for n in range(600, 620)]"))
    return kept


print("ready", flush=True)
sys.stdin.readline()
kept = work()
print("done", flush=True)
sys.stdin.readline()
