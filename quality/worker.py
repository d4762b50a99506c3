"""A checker worker: reads checks from a socket, one JSON object a line, and answers each with one.

    python -P -m quality.worker FD

The first line is the set-up: {"memory_mb", "precision", "confine": [module, name] or null}; the reply {"ready": true}
follows the warm-up. The protocol has its own file descriptor, so nothing that a library prints can reach it. The worker
ends when the parent closes its side, or is killed by it.
"""

import ctypes
import importlib
import json
import logging
import resource
import signal
import sys
from typing import Any

from quality.verifiers import judge, warm_up

_MIB = 1024 * 1024
_ARGUMENTS = ("verifier", "gold", "answer", "meta", "both_ways")


def main() -> None:
    """Serve checks until the parent hangs up."""
    _die_with_parent()
    logging.disable(logging.CRITICAL)
    fd = int(sys.argv[1])
    # Read and write, not recv and send: confinement may know no sockets.
    with open(fd, "rb", closefd=False) as requests, open(fd, "wb", buffering=0) as replies:
        setup = json.loads(requests.readline())
        replies.write(_line(_prepare(setup)))
        while line := requests.readline():
            replies.write(_line(_answer(json.loads(line))))


def _prepare(setup: dict[str, Any]) -> dict[str, Any]:
    try:
        warm_up(setup["precision"])
        _limit_memory(setup["memory_mb"])
        if setup["confine"]:
            module, name = setup["confine"]
            getattr(importlib.import_module(module), name)()
    except Exception as error:  # the parent reports it, whatever it is
        return {"ready": False, "detail": f"{type(error).__name__}: {error}"}
    return {"ready": True}


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        is_correct, detail = judge(**{name: request[name] for name in _ARGUMENTS})
    except MemoryError:
        is_correct, detail = None, "out of memory"
    except Exception as error:  # a check that fails is data, whatever the reason
        is_correct, detail = None, f"{type(error).__name__}: {error}"
    return {"id": request["id"], "is_correct": is_correct, "detail": detail[:500]}


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _limit_memory(memory_mb: int) -> None:
    """Address space beyond what the warm worker itself has."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        own = int(statm.read().split()[0]) * resource.getpagesize()
    limit = own + memory_mb * _MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, even while a check hangs."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    main()
