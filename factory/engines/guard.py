"""Ends vLLM's processes when the process that started them is gone without a word, as after `kill -9`.

vLLM's scheduler process does not notice that and would hold the GPU's memory for ever, so that the same command could
not go on. Run as a process of its own (`start`), with nothing but the standard library. Linux only, as the sandbox is.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

LOOK_S = 0.5
MARKS = (b"VLLM::", b"multiprocessing.spawn")
"""What the command line of a process of vLLM's holds, after and before it has given itself a name."""


def start() -> "subprocess.Popen[bytes]":
    """Watch the calling process. `Popen.communicate(b".")` dismisses the guard; the end of its input is the alarm."""
    command = [sys.executable, "-I", __file__, str(os.getpid())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def offspring(pid: int) -> dict[int, str]:
    """Processes of vLLM's below `pid`: their ids, and the times they started, which tell a reused id apart."""
    found: dict[int, str] = {}
    with contextlib.suppress(OSError):  # it ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                if any(mark in Path(f"/proc/{child}/cmdline").read_bytes() for mark in MARKS):
                    found |= {child: started(child)} | offspring(child)
    return found


def started(pid: int) -> str:
    """Clock ticks from boot to the start of a process; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def main() -> None:
    """Remember the processes below the watched one; at the end of the input kill those that are left."""
    watched, seen = int(sys.argv[1]), dict[int, str]()
    while not select.select([sys.stdin], [], [], LOOK_S)[0]:
        seen |= offspring(watched)
    if os.read(sys.stdin.fileno(), 1):
        return
    for pid in list(seen):
        seen |= offspring(pid)
    for pid, time in seen.items():
        if time and started(pid) == time:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
