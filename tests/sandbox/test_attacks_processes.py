"""Attacks on other processes, and by starting some. A process of the host stands by as the victim."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from factory.sandbox.pool import Pool
from schemas.protocols import Limits
from schemas.vocabulary import ExecStatus
from tests.sandbox.tools import NUMBERS, SHORT, SLACK_MS, attempts, both, descendants

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.fixture
def victim() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of the same user that outlives the attack unharmed: neither dead nor stopped."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        assert process.poll() is None
        with open(f"/proc/{process.pid}/stat") as file:
            assert file.read().rpartition(")")[2].split()[0] in "SR"
        process.kill()


async def test_proc_kill(sandbox: Pool, victim: "subprocess.Popen[bytes]") -> None:
    code = f"""
import fcntl
for target in {{{victim.pid}, {os.getpid()}, os.getppid(), 1, 2, 0, -1, -{victim.pid}, -os.getpid()}} - {{os.getpid()}}:
    for number in (9, 10, 19, 0):
        attempt(f'kill {{target}} {{number}}', os.kill, target, number)
for target in ({victim.pid}, os.getppid()):
    for name, function in [
        ('killpg', lambda: os.killpg(target, 9)), ('tkill', lambda: call('tkill', target, 9)),
        ('tgkill', lambda: call('tgkill', target, target, 9)), ('pidfd', lambda: os.pidfd_open(target)),
        ('sigqueue', lambda: call('rt_sigqueueinfo', target, 9, bytes(128))),
        ('pidfd_send_signal', lambda: call('pidfd_send_signal', 3, 9, 0, 0)),
        ('nice', lambda: os.setpriority(os.PRIO_PROCESS, target, 19)), ('own nice', lambda: os.nice(-5)),
        ('affinity', lambda: os.sched_setaffinity(target, [0])), ('own affinity', lambda: os.sched_setaffinity(0, [0])),
        ('owner', lambda: fcntl.fcntl(0, 8, target)), ('signal', lambda: fcntl.fcntl(0, 10, 9)),
        ('own group', lambda: os.killpg(0, 9)), ('group', lambda: os.setpgid(0, target)), ('session', os.setsid),
        ('setuid', lambda: os.setuid(0)), ('setresuid', lambda: os.setresuid(-1, 65534, -1)),
        ('setgroups', lambda: os.setgroups([0])), ('personality', lambda: call('personality', 0)),
        *((f'prctl {{n}}', lambda n=n: call('prctl', n, 1, 0, 0, 0))
          for n in (1, 4, 8, 22, 23, 24, 26, 28, 29, 31, 35, 36, 38, 47, 0x59616d61)),
    ]:
        attempt(name, function)
"""
    await both(sandbox, attempts(code))


async def test_proc_ptrace_mem(sandbox: Pool, victim: "subprocess.Popen[bytes]") -> None:
    """Also another guest's memory: it runs at the same time, with the same fork server and perhaps the same user."""
    neighbours = [await sandbox.session() for _ in range(2)]
    pids = [victim.pid, os.getpid()]
    for one in neighbours:
        pids.append(int((await one.run("import os\nos.getpid()")).stdout))
    code = f"""
vector = (ctypes.c_long * 2)(ctypes.addressof(ctypes.create_string_buffer(8)), 8)
for pid in {pids} + [os.getppid(), 1]:
    for name, function in [
        *((f'ptrace {{n:x}}', lambda n=n: call('ptrace', n, pid, 0, 0)) for n in (0, 16, 0x4206)),
        ('readv', lambda: call('process_vm_readv', pid, vector, 1, vector, 1, 0)),
        ('writev', lambda: call('process_vm_writev', pid, vector, 1, vector, 1, 0)),
        ('mem', lambda: open(f'/proc/{{pid}}/mem', 'rb')), ('maps', lambda: open(f'/proc/{{pid}}/maps').read()),
        ('pidfd', lambda: os.pidfd_open(pid)), ('madvise', lambda: call('process_madvise', pid, vector, 1, 4, 0)),
        *((f'fd {{n}}', lambda n=n: open(f'/proc/{{pid}}/fd/{{n}}', 'rb')) for n in range(8) if pid != os.getpid()),
        *((f'getfd {{n}}', lambda n=n: call('pidfd_getfd', n, 0, 0)) for n in range(8)),
        ('limits', lambda: __import__('resource').prlimit(pid, 7) if pid != os.getpid() else 1 / 0),
    ]:
        attempt(f'{{name}} {{pid}}', function)
"""
    await both(sandbox, attempts(code))
    for one in neighbours:
        assert (await one.run("1 + 1")).stdout == "2\n"
        await one.aclose()


async def test_proc_fork_bomb(sandbox: Pool) -> None:
    code = """
refused = 0
for _ in range(400):
    try: pid = os.fork()
    except OSError: refused += 1
    else: print('ESCAPED', pid)
print(refused)
for name, function in [
    ('clone', lambda: call('clone', 17, 0, 0, 0, 0)), ('clone3', lambda: call('clone3', bytes(88), 88)),
    ('vfork', lambda: call('vfork')), ('parent', lambda: call('clone', 0x8000 | 17, 0, 0, 0, 0)),
    *((f'clone {flag:x}', lambda flag=flag: call('clone', 0x10000 | flag | 17, 0, 0, 0, 0))
      for flag in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)),
]:
    attempt(name, function)
"""
    honest = [asyncio.create_task(sandbox.run("print(sum(range(1000)))")) for _ in range(6)]
    for result in await both(sandbox, attempts(code)):
        assert result.stdout.startswith("400\n")
    assert {result.stdout for result in await asyncio.gather(*honest)} == {"499500\n"}


async def test_proc_daemon(sandbox: Pool) -> None:
    """Whatever lives after the reply would be found by `both`; the second one outlives its own main thread."""
    code = """
import multiprocessing
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            __import__('time').sleep(60)
attempt('daemon', daemon)
attempt('process', lambda: multiprocessing.get_context('fork').Process(target=print, daemon=True).start())
"""
    await both(sandbox, attempts(code))
    headless = (
        "import ctypes, threading\ndef spin():\n    while True: pass\n"
        f"threading.Thread(target=spin, daemon=True).start()\nctypes.CDLL(None).syscall({NUMBERS['exit']}, 0)"
    )
    for result in await both(sandbox, headless, SHORT):
        assert result.status is ExecStatus.TIMEOUT
        assert result.wall_ms < SHORT.wall_s * 1000 + SLACK_MS


async def test_proc_hold_stdout(sandbox: Pool) -> None:
    code = """
import subprocess, threading, time
held = os.dup(1)
os.set_inheritable(held, True)
attempt('child', lambda: subprocess.Popen(['/bin/sleep', '60'], stdout=held))
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""
    started = time.monotonic()
    await both(sandbox, attempts(code))
    assert time.monotonic() - started < 1 + SLACK_MS / 1000


async def test_proc_threads(sandbox: Pool) -> None:
    spin = "import threading\ndef spin():\n    while True: pass\n"
    daemons = spin + "for _ in range(3): threading.Thread(target=spin, daemon=True).start()"
    for result in await both(sandbox, daemons, SHORT):
        assert result.wall_ms < SHORT.wall_s * 1000 + SLACK_MS
    fresh, _ = await both(sandbox, spin + "threading.Thread(target=spin).start()", SHORT)
    assert fresh.status is ExecStatus.TIMEOUT
    bomb = (
        "import threading, time\nthreading.stack_size(32768)\ntry:\n"
        "  while True: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
        "except RuntimeError: print('stopped')"
    )
    for result in await both(sandbox, bomb, Limits(wall_s=3), heals=False):
        assert "stopped" in result.stdout or result.status in (ExecStatus.TIMEOUT, ExecStatus.MEMORY)


async def test_proc_threads_of_a_frozen_session_leave_room_for_those_of_others(sandbox: Pool) -> None:
    bomb = (
        "import threading, time\nthreading.stack_size(32768)\ntry:\n"
        "  while True: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
        "except RuntimeError: pass"
    )
    sessions = [await sandbox.session(Limits(wall_s=3)) for _ in sandbox._slots]
    for one in sessions:
        await one.run(bomb)
    for _ in sessions:
        honest = await sandbox.run(
            "import threading\nt = threading.Thread(target=print, args=(1,))\nt.start()\nt.join()"
        )
        assert honest.stdout.split() == ["1"], honest
    for one in sessions:
        await one.aclose()


async def test_proc_threads_do_not_run_between_blocks(sandbox: Pool) -> None:
    """A thread in machine code says SIGCONT to its own process all the time, so that a SIGSTOP may get lost."""
    code = """
import ctypes, mmap, os, platform, struct, threading
if platform.machine() == 'x86_64':
    page = mmap.mmap(-1, 4096, prot=7)  # mov edi, pid; mov esi, 18; mov eax, 62; syscall; jmp back
    page.write(b'\\xbf' + struct.pack('<I', os.getpid()) + bytes.fromhex('be12000000b83e0000000f05ebed'))
    loop = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
else:
    def loop():
        while True: ctypes.CDLL(None).kill(os.getpid(), 18)
for _ in range(3): threading.Thread(target=loop, daemon=True).start()
"""
    session = await sandbox.session()
    await session.run(code)
    states = ""
    for _ in range(12):
        await session.run("pass")
        await asyncio.sleep(0.05)
        with open(f"/proc/{session._worker._pid if session._worker else 0}/stat") as file:
            states += file.read().rpartition(")")[2].split()[0]
    await session.aclose()
    assert states == "T" * 12


async def test_proc_exec(sandbox: Pool) -> None:
    before = descendants(os.getpid())
    code = """
import subprocess, pty
for name, function in [
    ('execv', lambda: os.execv('/bin/sh', ['sh', '-c', 'echo ESCAPED'])),
    ('execve of python', lambda: os.execv(sys.executable, ['python'])),
    ('loader', lambda: os.execv('/lib64/ld-linux-x86-64.so.2', ['ld', '/bin/echo', 'ESCAPED'])),
    ('execveat', lambda: call('execveat', -100, b'/bin/sh', 0, 0, 0)),
    ('subprocess', lambda: subprocess.run(['/bin/echo', 'ESCAPED'])),
    ('spawn', lambda: os.posix_spawn('/bin/echo', ['echo', 'ESCAPED'], {})),
    ('popen', lambda: os.popen('echo ESCAPED').read()), ('pty', lambda: pty.fork()),
    ('system', lambda: 1 / 0 if os.system('echo ESCAPED') else 0),
    ('memfd', lambda: os.memfd_create('program')), ('secret memory', lambda: call('memfd_secret', 0)),
]:
    attempt(name, function)
"""
    await both(sandbox, attempts(code))
    assert descendants(os.getpid()) <= before
