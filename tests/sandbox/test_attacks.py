"""Attacks that must fail at every level, fresh and in a session; the oracles stand outside."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from factory.sandbox.pool import Pool
from schemas.protocols import Limits
from schemas.vocabulary import ExecStatus, SandboxLevel
from tests.sandbox.tools import ATTEMPT, CANARY, SHORT, SLACK_MS, both, descendants

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_attack_network(sandbox: Pool) -> None:
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        path, name = f"{folder}/socket", f"\0sandbox-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX) as file_server, socket.socket(socket.AF_UNIX) as abstract_server:
            for listener, address in ((file_server, path), (abstract_server, name)):
                listener.bind(address)
                listener.listen()
            os.chmod(path, 0o777)
            servers = [server, file_server, abstract_server]
            port = server.getsockname()[1]
            await both(
                sandbox,
                ATTEMPT
                + f"""
import socket
attempt('tcp', socket.create_connection, ('127.0.0.1', {port}), 1)
attempt('udp', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port})))
attempt('listen', socket.create_server, ('127.0.0.1', 0))
attempt('unix', lambda: socket.socket(socket.AF_UNIX).connect({path!r}))
attempt('abstract', lambda: socket.socket(socket.AF_UNIX).connect({name!r}))
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
attempt('sendto path', a.sendto, b'x', {path!r})
attempt('sendto abstract', a.sendto, b'x', {name!r})
attempt('connect pair', a.connect, {path!r})
attempt('inet pair', lambda: call(53, 2, 1, 0, (ctypes.c_int * 2)()))
attempt('socket', call, 41, 2, 1, 0)
attempt('io_uring', call, 425, 8, ctypes.create_string_buffer(256))
attempt('io_uring_enter', call, 426, 0, 0, 0, 0, 0, 0)
""",
            )
            for listener in servers:
                listener.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    accepted.append(listener.accept())
    assert accepted == []


async def test_attack_read_files(sandbox: Pool, canary: Path) -> None:
    code = (
        ATTEMPT
        + f"""
paths = ['/etc/passwd', '/etc/shadow', '/etc/hostname', {str(canary)!r}, {str(Path(__file__))!r},
         '/proc/self/environ', '/proc/1/environ', '/proc/self/status', '/proc/1/root/etc/passwd',
         f'/proc/{os.getpid()}/root{canary}', f'/proc/{{os.getppid()}}/cwd', '/proc/self/root/etc/passwd',
         '../../../../../..{canary}', '/old{canary}', '/sys/kernel', '/dev/mem', '/dev/kmsg']
for path in paths:
    attempt(path, lambda: open(path, 'rb').read(100))
    attempt('list ' + os.path.dirname(path), os.listdir, os.path.dirname(path))
for fd in range(3, 64):
    attempt(f'fd {{fd}}', lambda: os.read(os.open('etc/passwd', os.O_RDONLY, dir_fd=fd), 100))
attempt('link', os.symlink, {str(canary)!r}, 'link') if not os.access('.', os.W_OK) else None
attempt('handle', call, 304, -100, b'/', 0, 0)
attempt('chroot', os.chroot, '/')
attempt('mount', call, 165, b'tmpfs', b'/box', b'tmpfs', 0, 0)
attempt('unshare', call, 272, 0x10000000)
attempt('setns', call, 308, 3, 0)
attempt('pivot', call, 155, b'/', b'/')
print(sorted(os.environ))
print(os.environ.get('SANDBOX_CANARY'))
"""
    )
    code = code.replace("attempt('list ' + os.path.dirname(path), os.listdir, os.path.dirname(path))", "pass")
    for result in await both(sandbox, code):
        assert "'PATH'" in result.stdout, result
        assert "SANDBOX_CANARY" not in result.stdout


async def test_attack_write_files(sandbox: Pool, canary: Path) -> None:
    site = next(path for path in sys.path if path.endswith("site-packages"))
    mode = stat.S_IMODE(canary.stat().st_mode)
    code = (
        ATTEMPT
        + f"""
import pathlib
for folder in [{str(canary.parent)!r}, '/', '/var/tmp', '/dev/shm', '/usr/lib', {site!r}, '/root', '/home', '/etc']:
    attempt('create in ' + folder, lambda: open(folder + '/sandbox-planted.pth', 'w'))
    attempt('mkdir in ' + folder, os.mkdir, folder + '/sandbox-planted')
for name, function in [
    ('write', lambda: open({str(canary)!r}, 'a')), ('truncate', lambda: os.truncate({str(canary)!r}, 0)),
    ('o_trunc', lambda: os.open({str(canary)!r}, os.O_RDONLY | os.O_TRUNC)),
    ('remove', lambda: os.remove({str(canary)!r})), ('rename', lambda: os.rename({str(canary)!r}, '/x')),
    ('chmod', lambda: os.chmod({str(canary)!r}, 0)), ('utime', lambda: os.utime({str(canary)!r}, (0, 0))),
    ('link', lambda: os.link({str(canary)!r}, {str(canary)!r} + '2')),
    ('patch a module', lambda: open(os.__file__, 'a')), ('remount', lambda: call(165, 0, b'/usr/lib', 0, 32 | 4096, 0)),
]:
    attempt(name, function)
"""
    )
    await both(sandbox, code)
    assert canary.read_text() == CANARY
    assert stat.S_IMODE(canary.stat().st_mode) == mode
    assert os.listdir(canary.parent) == [canary.name]
    assert not (Path(site) / "sandbox-planted.pth").exists()


async def test_attack_other_processes(sandbox: Pool) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as victim:
        try:
            await both(
                sandbox,
                ATTEMPT
                + f"""
for target in ({victim.pid}, {os.getpid()}, os.getppid(), 1, 2, 0, -1, -{victim.pid}):
    for number in (9, 10, 19, 0):
        attempt(f'kill {{target}} {{number}}', os.kill, target, number)
for name, function in [
    ('killpg', lambda: os.killpg(0, 9)), ('ptrace', lambda: call(101, 16, {victim.pid}, 0, 0)),
    ('vm_readv', lambda: call(310, {victim.pid}, 0, 0, 0, 0, 0)), ('pidfd', lambda: os.pidfd_open({victim.pid})),
    ('pidfd parent', lambda: os.pidfd_open(os.getppid())), ('tkill', lambda: call(200, os.getppid(), 9)),
    ('tgkill', lambda: call(234, os.getppid(), os.getppid(), 9)), ('getfd', lambda: call(438, 3, 0, 0)),
    ('sigqueue', lambda: call(129, os.getppid(), 9, bytes(128))),
    ('nice', lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)),
    ('prlimit', lambda: __import__('resource').prlimit(os.getppid(), 7)),
    ('mem', lambda: open('/proc/{victim.pid}/mem', 'rb')), ('setuid', lambda: os.setuid(0)),
    ('shm', lambda: call(29, 1, 4096, 0o1666)), ('memfd', lambda: os.memfd_create('x')),
    ('keyctl', lambda: call(250, 0, -3, 0)), ('bpf', lambda: call(321, 0, 0, 0)),
    ('perf', lambda: call(298, 0, 0, -1, -1, 0)), ('userfault', lambda: call(323, 0)),
    ('dumpable', lambda: call(157, 4, 1, 0, 0, 0)), ('owner', lambda: __import__('fcntl').fcntl(0, 8, os.getppid())),
    ('int80', lambda: None if os.getpid() else 1), ('affinity', lambda: os.sched_setaffinity(0, [0])),
][:-2]:
    attempt(name, function)
""",
            )
            assert victim.poll() is None
        finally:
            victim.kill()


async def test_attack_own_limits(sandbox: Pool) -> None:
    code = (
        ATTEMPT
        + """
import resource
for kind in ('AS', 'DATA', 'FSIZE', 'NOFILE', 'NPROC', 'CORE', 'MEMLOCK'):
    kind = getattr(resource, 'RLIMIT_' + kind)
    attempt(str(kind), resource.setrlimit, kind, (-1, -1))
import mmap
attempt('shared', lambda: [mmap.mmap(-1, 1 << 28) for _ in range(4)])
"""
    )
    await both(sandbox, code)


async def test_attack_fork_and_exec(sandbox: Pool) -> None:
    before = descendants(os.getpid())
    code = (
        ATTEMPT
        + """
import subprocess, multiprocessing, signal
attempt('fork', os.fork)
attempt('vfork', call, 58)
attempt('clone', call, 56, 17, 0, 0, 0, 0)
attempt('clone with a namespace', call, 56, 0x10000 | 0x10000000 | 17, 0, 0, 0, 0)
attempt('clone3', call, 435, bytes(88), 88)
attempt('execv', os.execv, '/bin/sh', ['sh', '-c', 'echo ESCAPED'])
attempt('execve self', os.execv, sys.executable, ['python'])
attempt('subprocess', subprocess.run, ['/bin/echo', 'ESCAPED'])
attempt('spawn', os.posix_spawn, '/bin/echo', ['echo', 'ESCAPED'], {})
attempt('process', lambda: multiprocessing.get_context('fork').Process(target=print).start())
"""
    )
    await both(sandbox, code)
    assert descendants(os.getpid()) <= before


async def test_attack_32_bit_and_x32_calls(sandbox: Pool) -> None:
    """socket() through the two other doors of the kernel: the filter sees other numbers there."""
    int80 = (
        "import ctypes, mmap\n"
        "m = mmap.mmap(-1, 4096, prot=7)\n"
        "m.write(bytes.fromhex('53b867010000bb02000000b901000000ba00000000cd805bc3'))\n"
        "f = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))\n"
        "r = f()\n"
        "print('ESCAPED' if r >= 0 else 'refused')"
    )
    for result in await both(sandbox, int80):
        assert result.status is ExecStatus.SIGNAL or "refused" in result.stdout
    await both(sandbox, ATTEMPT + "attempt('x32', call, 0x40000000 + 41, 2, 1, 0)")


async def test_attack_forged_success(sandbox: Pool) -> None:
    """Nothing that the code writes or returns makes another status or another job's output."""
    forged = await sandbox.run("import os\nos.write(2, b'Traceback')\nos.write(3, b'+')")
    assert forged.status is ExecStatus.ERROR  # descriptor 3 is closed
    quiet = await sandbox.run("import os\nprint('answer')\nos._exit(0)")
    assert (quiet.status, quiet.stdout) == (ExecStatus.OK, "")  # a test that needs output fails
    session = await sandbox.session()
    code = (
        "import os, struct, sys\nframe = sys._getframe()\nwhile frame:\n"
        "    nonce = frame.f_locals.get('nonce')\n"
        "    if nonce: os.write(4, struct.pack('<16sBi', nonce, 1, 0)); break\n"
        "    frame = frame.f_back\nprint('after', nonce is None)\nimport time; time.sleep(9)"
    )
    early = await session.run(code)  # ends its own block early, and that is all it gains
    assert early.wall_ms < 1_000 + SLACK_MS
    await session.aclose()


async def test_attack_closed_descriptors_and_crashes(sandbox: Pool) -> None:
    await both(sandbox, "import os\nos.closerange(0, 4096)")
    await both(sandbox, "import ctypes\nctypes.memset(0, 0, 1)")
    await both(sandbox, "import sys\nsys.stdout = sys.stderr = None\nraise ValueError")
    await both(
        sandbox,
        "import signal\nfor n in range(1, 32):\n  try: signal.signal(n, signal.SIG_IGN)\n  except OSError: pass",
    )


async def test_attack_pollute_the_next_job(sandbox: Pool) -> None:
    pollution = """
import math, builtins, os, sys, random, gc
math.sqrt = lambda x: 'polluted'
builtins.print = builtins.input = lambda *a: 'polluted'
os.environ['POLLUTED'] = '1'
sys.setrecursionlimit(77)
sys.modules['json'] = None
for thing in gc.get_objects():
    if type(thing) is dict and 'sqrt' in thing: thing['sqrt'] = None
secret = 'left-over-' + '9b1c'
keep = [secret * 1000 for _ in range(100)]
"""
    await both(sandbox, pollution)
    search = """
import gc, json, os, sys, ctypes
assert 'POLLUTED' not in os.environ
needle = ('left-over-' + '9b' + '1c').encode()
hits = sum(type(o) is str and needle.decode() in o for o in gc.get_objects())
print(hits, json.dumps([1]))
"""
    for result in await both(sandbox, search):
        assert result.stdout == "0 [1]\n"


async def test_attack_threads_outlive_nothing(sandbox: Pool) -> None:
    code = (
        "import threading\ndef spin():\n    while True: pass\n"
        "for daemon in (True, True, False): threading.Thread(target=spin, daemon=daemon).start()"
    )
    assert (await sandbox.run(code, limits=SHORT)).status is ExecStatus.TIMEOUT
    bomb = (
        "import threading, time\nthreading.stack_size(32768)\ntry:\n"
        "  while True: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
        "except RuntimeError: print('stopped')"
    )
    for result in await both(sandbox, bomb, Limits(wall_s=3)):
        assert "stopped" in result.stdout or result.status in (ExecStatus.TIMEOUT, ExecStatus.MEMORY)


async def test_attack_fill_the_work_folder(sandbox: Pool) -> None:
    if sandbox.level is not SandboxLevel.NAMESPACES:
        pytest.skip("level landlock has no writable folder")
    code = ATTEMPT + (
        "import errno\ntry:\n  for i in range(400): open(f'big{i}', 'wb').write(bytes(500_000))\n"
        "except OSError as error: print(errno.errorcode[error.errno])\n"
        "try:\n  for i in range(6000): open(f'small{i}', 'w').close()\n"
        "except OSError as error: print(errno.errorcode[error.errno])"
    )
    for result in await both(sandbox, code):
        assert result.stdout == "ENOSPC\nENOSPC\n"
