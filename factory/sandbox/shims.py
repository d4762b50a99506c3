"""Two corrections that let ordinary contest programs run inside the walls. Installed once, before the fork.

Not a wall: a guest can undo them, and then meets the kernel.
"""

import builtins
import io
import os
import threading
from typing import Any

_LARGEST_STACK_BYTES = 256 << 20
"""Programs ask for 512 MB and use little of it; the address space does not hold two of those."""

_STREAMS = {
    f"{folder}/{name}": descriptor
    for descriptor, stream in enumerate(("stdin", "stdout", "stderr"))
    for folder, name in (("/dev", stream), ("/dev/fd", descriptor), ("/proc/self/fd", descriptor))
}

_real_open = open
_real_stack_size = threading.stack_size


def install() -> None:
    """Replace `open` and `threading.stack_size`."""
    builtins.open = io.open = _open
    threading.stack_size = _stack_size


def _open(file: Any, *args: Any, **options: Any) -> Any:
    """Open a file. The names of the standard streams lead through /proc, which a guest does not see."""
    if isinstance(file, str) and file in _STREAMS:
        file = os.dup(_STREAMS[file])
    return _real_open(file, *args, **options)


def _stack_size(size: int = 0) -> int:
    return _real_stack_size(min(size, _LARGEST_STACK_BYTES))
