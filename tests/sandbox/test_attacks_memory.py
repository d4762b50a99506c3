"""Attacks on memory, of the process and of the kernel on its behalf."""

import resource
from pathlib import Path

import pytest

from factory.sandbox.pool import Pool
from schemas.protocols import Limits
from schemas.vocabulary import ExecStatus
from tests.sandbox.tools import attempts, both

pytestmark = pytest.mark.asyncio(loop_scope="package")

LIMITS = Limits(wall_s=3, memory_mb=128)


async def _peaks_of_nothing(sandbox: Pool, code: str) -> list[int]:
    """What interpreters hold that run nothing: a fresh one for code like this, and one of a session."""
    session = await sandbox.session()
    idle = [await sandbox.run("# numpy" if "numpy" in code else ""), await session.run("")]
    await session.aclose()
    return [result.max_rss_kb for result in idle]


@pytest.mark.parametrize(
    "code",
    [
        "b = bytearray()\nwhile len(b) < 1 << 30: b += bytes(1 << 20)",
        "x = []\nwhile True: x.append([0] * 1000)",
        "x = 'a' * (1 << 30)",
        "import numpy\nx = numpy.ones((1 << 14, 1 << 14))",
        "def f(n): return f(n + 1) + 1\nimport sys, threading\nsys.setrecursionlimit(10**9)\n"
        "threading.stack_size(100 << 20)\nt = threading.Thread(target=f, args=(0,))\nt.start()\nt.join()",
        "import mmap\nx = [mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE) for _ in range(1 << 10)]",
        "import mmap\nx = [mmap.mmap(-1, 1 << 20, prot=mmap.PROT_READ) for _ in range(1 << 10)]",
    ],
    ids=["grows", "lists", "string", "array", "stack", "maps", "unwritable"],
)
async def test_mem_private(sandbox: Pool, code: str) -> None:
    bases_kb = await _peaks_of_nothing(sandbox, code)
    results = await both(sandbox, code, LIMITS, heals=False)  # its session goes on, but with no memory left
    for result, base_kb in zip(results, bases_kb, strict=True):
        assert result.status in (ExecStatus.MEMORY, ExecStatus.SIGNAL, ExecStatus.ERROR) or "Error" in result.stderr
        assert result.max_rss_kb - base_kb < 1.3 * LIMITS.memory_mb * 1024


_KEY = 23_117


def _shared_segments() -> list[str]:
    """Those of the names and the key that the attack uses: others may come and go on a host."""
    keys = [line.split()[0] for line in Path("/proc/sysvipc/shm").read_text().splitlines()]
    return [str(path) for path in Path("/dev/shm").glob("sandbox-test*")] + [key for key in keys if key == str(_KEY)]


async def test_mem_shared(sandbox: Pool) -> None:
    code = f"""
import mmap
from multiprocessing import shared_memory
def grow():
    kept = []
    for _ in range(256):
        kept.append(mmap.mmap(-1, 1 << 20))
        kept[-1].write(bytes(1 << 20))
attempt('MAP_SHARED', grow)
attempt('memfd', os.memfd_create, 'x')
attempt('secret', call, 'memfd_secret', 0)
attempt('/dev/shm', lambda: open('/dev/shm/sandbox-test-2', 'wb').write(bytes(1 << 20)))
attempt('posix', lambda: shared_memory.SharedMemory('sandbox-test', True, 1 << 20))
attempt('shmget', call, 'shmget', {_KEY}, 4096, 0o1666)
attempt('mq_open', call, 'mq_open', b'sandbox-test', 0o102, 0o666, 0)
attempt('huge', lambda: [mmap.mmap(-1, 64 << 20, flags=0x40000 | 0x21) for _ in range(4)])
attempt('locked', lambda: mmap.mmap(-1, 1 << 20, flags=0x2000 | 0x21).write(bytes(1 << 20)))
"""
    bases_kb = await _peaks_of_nothing(sandbox, code)
    for result, base_kb in zip(await both(sandbox, attempts(code), LIMITS), bases_kb, strict=True):
        assert result.max_rss_kb - base_kb < 1.3 * LIMITS.memory_mb * 1024
    assert _shared_segments() == []


async def test_mem_shared_with_the_supervisor(sandbox: Pool) -> None:
    """The streams are files in memory that the supervisor pays for."""
    code = """
import fcntl, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for fd in range(5):
    for name, function in [
        ('far', lambda: os.pwrite(fd, b'x', 1 << 40)), ('longer', lambda: os.ftruncate(fd, 1 << 30)),
        ('reserved', lambda: os.posix_fallocate(fd, 0, 1 << 30)), ('sealed', lambda: fcntl.fcntl(fd, 1033, 8)),
        ('kept size', lambda: 1 / 0 if libc.fallocate(fd, 1, ctypes.c_long(0), ctypes.c_long(1 << 30)) else None),
        ('copied', lambda: os.copy_file_range(0, fd, 1 << 20, 0, 1 << 30) or 1 / 0),
        ('pipe size', lambda: fcntl.fcntl(os.pipe()[1], 1031, 1 << 24)),
    ]:
        attempt(f'{name} {fd}', function)
"""
    await both(sandbox, attempts(code), stdin="x" * 100_000)


async def test_mem_of_the_kernel(sandbox: Pool) -> None:
    """Sockets buffer 200 KB each that no limit counts; so few of them may be open, in all threads together."""
    code = """
import threading
close_range_unshare, clone_vm, clone_sighand, clone_thread = 2, 0x100, 0x800, 0x10000
attempt('own descriptors', call, 'close_range', 900, 901, close_range_unshare)
attempt('own descriptors, cloexec', call, 'close_range', 900, 901, close_range_unshare | 4)
attempt('unshare', call, 'unshare', 0x400)
opened = []
def fill():
    libc.syscall(NUMBERS['close_range'], 900, 901, close_range_unshare)
    for _ in range(100):
        try: opened.append(os.pipe())
        except OSError: return
threads = [threading.Thread(target=fill) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
if len(opened) > 32: print('ESCAPED', 2 * len(opened), 'descriptors')
attempt('thread with own descriptors', call, 'clone', clone_vm | clone_sighand | clone_thread, 0, 0, 0, 0)
"""
    await both(sandbox, attempts(code))


async def test_mem_rlimit(sandbox: Pool) -> None:
    code = """
import resource
for name in dir(resource):
    if name.startswith('RLIMIT_') and name not in ('RLIMIT_STACK', 'RLIMIT_RSS'):
        kind = getattr(resource, name)
        soft, hard = resource.getrlimit(kind)
        if hard != -1:
            attempt(name, resource.setrlimit, kind, (hard, hard + 1))
            attempt(name + ' for ever', resource.setrlimit, kind, (-1, -1))
        attempt(name + ' of the parent', resource.prlimit, os.getppid(), kind, (hard, hard))
"""
    before = [resource.getrlimit(kind) for kind in range(16)]
    await both(sandbox, attempts(code))
    assert [resource.getrlimit(kind) for kind in range(16)] == before
