# What Python services do: documents that are read, changed and written. The protocol is that of work.c; an operation is a
# document. The planted leaks are in the library whose path is the argument.
import ctypes
import json
import sys
import time

planted_until = ctypes.CDLL(sys.argv[1]).planted_until
planted_until.argtypes = [ctypes.c_double]
planted_until.restype = None
DOCUMENT = json.dumps([{"id": i, "name": f"item {i}", "text": "x" * (97 * i % 1500)} for i in range(30)])


def document():
    items = json.loads(DOCUMENT)
    for item in items:
        item["text"] = item["text"].replace("x", "yz")
    return json.dumps(items)


print("ready", flush=True)
warm_up, seconds = map(float, sys.stdin.readline().split())
begun = time.monotonic_ns()
counted = begun + int(warm_up * 1e9)
end = counted + int(seconds * 1e9)
first, operations, now = 0, 0, begun
while now < end:
    planted_until((now - begun) / (end - begun))
    document()
    operations += 1
    now = time.monotonic_ns()
    if not first and now >= counted:
        first, operations = now, 0
planted_until(1)
print(operations, now - first, flush=True)
sys.stdin.read()
