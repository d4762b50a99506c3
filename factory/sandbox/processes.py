"""What the kernel says of another process: its id, its CPU time, its memory, whether it is stopped."""

import os
import time

N_CPUS = os.cpu_count() or 1
CHECK_S = 0.02
"""How often a guest that is close to its CPU limit is looked at."""
_SCHEDULER_CLOCK = 2
"""Kind of a process's CPU clock: user and system time of all its threads, in nanoseconds."""


def cpu_time_s(pid: int) -> float:
    """CPU seconds of a process, all threads (clock_getcpuclockid(3)); 0 once it is gone."""
    try:
        return time.clock_gettime(~pid << 3 | _SCHEDULER_CLOCK)
    except OSError:
        return 0.0


def check_again_s(left_s: float) -> float:
    """When to look next at a process with this much CPU time left: threads on all processors use it up no sooner."""
    return max(left_s / N_CPUS, CHECK_S)


def peak_rss_kb_and_threads(pid: int) -> tuple[int, int]:
    """Largest resident memory so far, and threads; zeros once it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            text = file.read()
        return int(_after(text, b"VmHWM:").split()[0]), int(_after(text, b"Threads:"))
    except (OSError, ValueError):  # a process that is just dying has no memory any more
        return 0, 0


def _after(text: bytes, name: bytes) -> bytes:
    start = text.index(name) + len(name)
    return text[start : text.index(b"\n", start)]


def is_stopped_or_gone(pid: int) -> bool:
    """Nothing is to be expected of this process any more."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in ("T", "Z")
    except OSError:
        return True


def pid_of(pidfd: int) -> int:
    """The process's id as this process sees it, in whatever namespace it lives.

    Raises:
        ProcessLookupError: it is gone.
    """
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        for line in file:
            if line.startswith("Pid:") and int(line.split()[1]) > 0:
                return int(line.split()[1])
    raise ProcessLookupError("a pidfd's process is gone")
