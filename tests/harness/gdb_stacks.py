# What gdb says of the stacks on which a process calls its allocators. Run by gdb.rs in a gdb that has attached to the
# process; SETTINGS is defined there. Prints "armed" once all breakpoints are in, and writes its findings, as one JSON
# object, when the process has ended, when enough calls were seen, or at the first call after the file SETTINGS["stop"]
# has appeared.

import bisect
import gdb
import gdb.unwinder
import json
import os
import re

# A pseudo-frame is gdb's account of a call that left nothing on the stack: an inlined one, or one that became a jump.
PSEUDO_FRAMES = {gdb.INLINE_FRAME: "inlined", gdb.TAILCALL_FRAME: "tail_calls"}
U64 = 2**64 - 1


def stack_pointer(frame):
    return int(frame.read_register("rsp")) & U64


def symbol(address):
    """The function that gdb finds at an address, and where it begins."""
    text = gdb.execute("info symbol %#x" % address, to_string=True)
    found = re.match(r"(\S.*?)(?: \+ (\d+))? in section", text)
    return (found.group(1), address - int(found.group(2) or 0)) if found else (None, None)


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class FramePointers(gdb.unwinder.Unwinder):
    """What V8 promises of its code, which nothing describes: rbp is the frame pointer. gdb alone would guess."""

    def __init__(self, described):
        super().__init__("frame pointers where nothing is described")
        self.starts = [start for start, _ in described]
        self.ends = [end for _, end in described]

    def __call__(self, pending):
        pc = int(pending.read_register("rip")) & U64
        look = pc - 1 if pending.level() > 0 else pc
        at = bisect.bisect_right(self.starts, look) - 1
        if at >= 0 and look < self.ends[at]:
            return None
        word = gdb.lookup_type("unsigned long")
        bp = pending.read_register("rbp").cast(word)
        saved = bp.cast(word.pointer())
        try:
            caller_bp, return_address = saved.dereference(), (saved + 1).dereference()
            caller_bp.fetch_lazy()
            return_address.fetch_lazy()
        except gdb.MemoryError:
            return None
        info = pending.create_unwind_info(FrameId(bp + 16, pending.read_register("rip")))
        info.add_saved_register("rip", return_address)
        info.add_saved_register("rbp", caller_bp)
        info.add_saved_register("rsp", bp + 16)
        return info


class Stacks:
    def __init__(self):
        self.calls = 0
        self.nested = 0
        self.pseudo = {"inlined": 0, "tail_calls": 0}
        self.stacks = {}
        self.starts = {}
        self.entries = set()
        self.last_call = {}

    def record(self, entry):
        """Returns whether that was enough."""
        if os.path.exists(SETTINGS["stop"]):
            return True
        thread = gdb.selected_thread()
        if SETTINGS["main_thread_only"] and thread.ptid[1] != thread.ptid[0]:
            return False
        innermost = gdb.newest_frame()
        pcs, frames = [], []
        last, frame = innermost, innermost.older()
        while frame is not None:
            kind = frame.type()
            if kind in PSEUDO_FRAMES:
                self.pseudo[PSEUDO_FRAMES[kind]] += 1
            else:
                if not pcs and self.is_nested(thread, entry, innermost, frame):
                    self.nested += 1
                    return False
                pcs.append(frame.pc())
                frames.append({"pc": frame.pc(), "name": frame.name(), "signal": kind == gdb.SIGTRAMP_FRAME})
            last, frame = frame, frame.older()
        self.calls += 1
        for frame in frames if tuple(pcs) not in self.stacks else ():
            # gdb looks for a function one byte before, where a call would have been.
            frame["name"] = frame["name"] or symbol(frame["pc"])[0]
        stack = self.stacks.setdefault(tuple(pcs), {"calls": 0, "frames": frames})
        stack["calls"] += 1
        stack["end"] = gdb.frame_stop_reason_string(last.unwind_stop_reason())
        return self.calls >= SETTINGS["most_calls"]

    def is_nested(self, thread, entry, innermost, caller):
        """Whether an allocator calls another one, which leaktrace does not count: by a call, or by a jump, which
        leaves the stack as the first one found it."""
        pc = caller.pc()
        call = (stack_pointer(innermost), pc)
        last = self.last_call.get(thread.ptid)
        if last is not None and last[0] == call and last[1] != entry:
            return True
        self.last_call[thread.ptid] = (call, entry)
        if pc not in self.starts:
            _, self.starts[pc] = symbol(pc - 1)
        return self.starts[pc] in self.entries

    def report(self):
        return {
            "calls": self.calls,
            "nested": self.nested,
            "inlined": self.pseudo["inlined"],
            "tail_calls": self.pseudo["tail_calls"],
            "stacks": list(self.stacks.values()),
        }


stacks = Stacks()


class Entry(gdb.Breakpoint):
    def __init__(self, address):
        super().__init__("*%#x" % address, internal=True)
        self.silent = True
        self.entry = address
        stacks.entries.add(address)

    def stop(self):
        return stacks.record(self.entry)


def main():
    for setting in (
        "pagination off",
        "confirm off",
        "print inferior-events off",
        "print thread-events off",
        "backtrace past-main on",
        # Where a program is entered there is no caller; behind that gdb would guess.
        "backtrace past-entry off",
    ):
        gdb.execute("set " + setting)
    gdb.execute("handle all nostop noprint pass", to_string=True)
    if SETTINGS["described"] is not None:
        with open(SETTINGS["described"]) as file:
            gdb.unwinder.register_unwinder(None, FramePointers(json.load(file)))
    for address in SETTINGS["entries"]:
        Entry(address)
    print("armed", flush=True)
    gdb.execute("continue", to_string=True)
    with open(SETTINGS["report"], "w") as file:
        json.dump(stacks.report(), file)


main()
