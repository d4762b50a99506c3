"""Attacks on files: a canary lies where every user of the host may read and write it."""

import asyncio
import contextlib
import fcntl
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from factory.sandbox import view
from factory.sandbox.pool import Pool
from schemas.vocabulary import SandboxLevel
from tests.sandbox.tools import CANARY, attempts, both

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.fixture
def project_file() -> Iterator[Path]:
    """A file of this very user among the project's own, if this user may write there."""
    path = Path(__file__).parent / f"canary-{os.getpid()}.txt"
    try:
        path.write_text(CANARY)
    except OSError:
        yield Path(__file__)
    else:
        yield path
        path.unlink()


async def test_fs_secrets(sandbox: Pool, canary: Path, project_file: Path) -> None:
    code = f"""
paths = ['/etc/passwd', '/etc/shadow', '/etc/hostname', {str(Path.home() / ".bashrc")!r}, '/var/log/dpkg.log',
         {str(canary)!r}, {str(project_file)!r}, {str(Path(__file__))!r}, '../../../../../..{canary}', '/old{canary}',
         '/dev/mem', '/dev/kmsg', '/dev/vda', '/dev/tty', '/dev/shm', '/sys/kernel', '/proc/kallsyms', '/proc/cmdline']
for path in paths:
    attempt(path, lambda: open(path, 'rb').read(100))
    attempt('map ' + path, lambda: __import__('mmap').mmap(os.open(path, os.O_RDONLY), 0, prot=1)[:100])
    attempt('O_PATH ' + path, lambda: os.read(os.open(path, os.O_PATH), 10))
for folder in {[str(canary.parent), str(project_file.parent), "/var/tmp", "/var/log", "/proc", "/sys"]}:
    attempt('list ' + folder, os.listdir, folder)
"""
    await both(sandbox, attempts(code))


async def test_fs_env(sandbox: Pool) -> None:
    code = """
for pid in ('self', 'thread-self', os.getpid(), os.getppid(), 1):
    attempt(f'environ of {pid}', lambda: open(f'/proc/{pid}/environ', 'rb').read())
    attempt(f'arguments of {pid}', lambda: open(f'/proc/{pid}/cmdline', 'rb').read())
print(dict(os.environ))
first = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, 'environ')  # what the process got, not what Python kept of it
print([first[n] for n in range(next(n for n in range(100) if not first[n]))])
try:
    print(libc.prctl(35, 0))  # the kernel would say where the arguments lie
except OSError: pass
"""
    for result in await both(sandbox, attempts(code)):
        assert "'PATH'" in result.stdout
        assert "SANDBOX_CANARY" not in result.stdout


async def test_fs_proc_root(sandbox: Pool, canary: Path) -> None:
    """Other processes' doors: the supervisor has this canary open, its number is known."""
    with canary.open() as file:
        code = f"""
for pid in ('self', os.getppid(), 1, {os.getpid()}, {os.getppid()}):
    for path in (f'root{canary}', f'cwd/../../../..{canary}', 'fd/{file.fileno()}', 'map_files', 'maps', 'mem', 'auxv'):
        attempt(f'{{pid}} {{path}}', lambda: open(f'/proc/{{pid}}/{{path}}', 'rb').read(100))
    attempt(f'{{pid}} descriptors', os.listdir, f'/proc/{{pid}}/fd')
    if pid not in ('self', os.getpid()):
        for link in ('root', 'cwd', 'exe', 'fd/0', 'fd/1', 'fd/3', 'ns/mnt'):
            attempt(f'{{pid}} {{link}}', os.readlink, f'/proc/{{pid}}/{{link}}')
            attempt(f'{{pid}} {{link}}', lambda: os.close(os.open(f'/proc/{{pid}}/{{link}}', os.O_RDONLY)))
"""
        await both(sandbox, attempts(code))


async def test_fs_links(sandbox: Pool, canary: Path) -> None:
    code = f"""
for name, function in (('symlink', os.symlink), ('link', os.link)):
    for target in ('link', 'sub/link', '/tmp/link', '/box/link', {str(canary.parent / "link")!r}):
        attempt(f'{{name}} {{target}}', function, {str(canary)!r}, target)
attempt('rename', os.rename, {str(canary)!r}, 'stolen')
attempt('handle', call, 'name_to_handle_at', -100, {str(canary).encode()!r}, bytes(200), bytes(8), 0)
attempt('by handle', call, 'open_by_handle_at', -100, bytes(200), 0)
attempt('chroot', os.chroot, '/')
attempt('pivot', call, 'pivot_root', b'/', b'/')
attempt('mount', call, 'mount', b'tmpfs', b'/box', b'tmpfs', 0, 0)
attempt('bind', call, 'mount', b'/', b'/box', b'', 4096, 0)
attempt('writable', call, 'mount', 0, b'/usr/lib', 0, 32 | 4096, 0)
attempt('unmount', call, 'umount2', b'/box', 2)
attempt('tree', call, 'open_tree', -100, b'/', 1)
attempt('move', call, 'move_mount', -100, b'/', -100, b'/box', 0)
attempt('fsopen', call, 'fsopen', b'tmpfs', 0)
attempt('setattr', call, 'mount_setattr', -100, b'/usr/lib', 0, bytes(32), 32)
for flag in (0x20000, 0x10000000, 0x10000000 | 0x20000, 0x20000000, 0x40000000, 0x8000000, 0x80):
    attempt(f'unshare {{flag:x}}', call, 'unshare', flag)
attempt('setns', call, 'setns', 3, 0)
"""
    await both(sandbox, attempts(code))


def _libraries() -> dict[str, int]:
    """Top two layers of what guests can read, with the time of the last change."""
    found = {}
    for top in map(Path, [*view.library_paths(), *(p for p in sys.path if p.endswith("site-packages"))]):
        for path in [top, *top.glob("*")]:
            with contextlib.suppress(OSError):
                found[str(path)] = path.stat().st_mtime_ns
    return found


async def test_fs_write_outside(sandbox: Pool, canary: Path) -> None:
    site = next(path for path in sys.path if path.endswith("site-packages"))
    before, mode = _libraries(), stat.S_IMODE(canary.stat().st_mode)
    folders = [str(canary.parent), "/", "/var/tmp", "/dev/shm", "/usr/lib", "/usr/lib/..", site, "/home", "/etc"]
    folders += [str(Path.home()), os.path.dirname(os.__file__), str(Path(__file__).parent)]
    code = f"""
import fcntl, pathlib, py_compile, shutil
for folder in {folders}:
    attempt('create in ' + folder, lambda: open(folder + '/sandbox-planted.pth', 'w'))
    attempt('mkdir in ' + folder, os.mkdir, folder + '/sandbox-planted')
    attempt('O_TMPFILE in ' + folder, os.open, folder, os.O_TMPFILE | os.O_RDWR)
canary = {str(canary)!r}
for name, function in [
    ('write', lambda: open(canary, 'a')), ('truncate', lambda: os.truncate(canary, 0)),
    ('O_TRUNC', lambda: os.open(canary, os.O_RDONLY | os.O_TRUNC)), ('O_RDWR', lambda: os.open(canary, os.O_RDWR)),
    ('remove', lambda: os.remove(canary)), ('rename', lambda: os.rename(canary, canary + '2')),
    ('replace', lambda: os.rename('/dev/null', canary)), ('chmod', lambda: os.chmod(canary, 0)),
    ('chown', lambda: os.chown(canary, os.getuid(), os.getgid())), ('utime', lambda: os.utime(canary, (0, 0))),
    ('xattr', lambda: os.setxattr(canary, 'user.x', b'x')), ('link', lambda: os.link(canary, canary + '2')),
    ('fifo', lambda: os.mkfifo(canary + '2')), ('node', lambda: os.mknod(canary + '2')),
    ('rmdir', lambda: os.rmdir(os.path.dirname(canary))), ('rmtree', lambda: shutil.rmtree(os.path.dirname(canary))),
    ('patch a module', lambda: open(os.__file__, 'a')),
    ('compile', lambda: py_compile.compile(os.__file__, doraise=True)),
    ('lease', lambda: fcntl.fcntl(os.open(os.__file__, 0), 1024, 0)),
    ('notify', lambda: fcntl.fcntl(os.open('/usr/lib', 0), 1026, 2)),
    ('inotify', lambda: call('inotify_init1', 0)), ('fanotify', lambda: call('fanotify_init', 0, 0)),
]:
    attempt(name, function)
"""
    await both(sandbox, attempts(code))
    private = "import os, tempfile\nfor folder in ('/tmp', '/var/tmp', '.'): os.mkdir(folder + '/sandbox-planted')"
    await both(sandbox, private)  # in namespaces these may lead to a folder of its own
    assert not list(Path(tempfile.gettempdir()).glob("sandbox-planted*"))
    assert canary.read_text() == CANARY
    assert stat.S_IMODE(canary.stat().st_mode) == mode
    assert os.listdir(canary.parent) == [canary.name]
    assert _libraries() == before


async def test_fs_locks_reach_no_program_of_the_host(sandbox: Pool) -> None:
    """A session that is frozen with a lock in its hands would hold it for as long as its trajectory waits."""
    session = await sandbox.session()
    await session.run(f"import fcntl\nfile = open({asyncio.__file__!r})\nfcntl.flock(file, fcntl.LOCK_EX)")
    with open(asyncio.__file__) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    await session.aclose()


def _room_on_the_host() -> list[tuple[int, int]]:
    """Free bytes and inodes of the host's file systems."""
    paths = {tempfile.gettempdir(), "/dev/shm", "/", str(Path(__file__).parent)} & {*map(str, Path("/").glob("*/"))}
    found = [os.statvfs(path) for path in sorted(paths | {"/"})]
    return [(one.f_bavail * one.f_frsize, one.f_favail) for one in found]


async def test_fs_disk_inode_fill(sandbox: Pool) -> None:
    before = _room_on_the_host()
    code = """
import errno
def fill(name, step, times):
    try:
        for i in range(times): step(i)
    except OSError as error: print(name, errno.errorcode[error.errno])
    else: print('ESCAPED', name)
fill('bytes', lambda i: open(f'big{i}', 'wb').write(bytes(500_000)), 400)
fill('holes', lambda i: os.posix_fallocate(os.open(f'hole{i}', os.O_RDWR | os.O_CREAT), 0, 16 << 20), 9)
fill('files', lambda i: open(f'small{i}', 'w').close(), 6000)
for folder in ('/tmp', '/dev/shm', '/var/tmp'):
    fill(folder, lambda i: open(f'{folder}/{i}', 'wb').write(bytes(500_000)), 400)
"""
    deep = "for i in range(3000):\n    os.mkdir('d')\n    os.chdir('d')"
    for result in await both(sandbox, attempts(code)):
        lines = result.stdout.splitlines()
        if sandbox.level is SandboxLevel.NAMESPACES:
            assert lines[:3] == ["bytes ENOSPC", "holes ENOSPC", "files ENOSPC"]
        else:
            assert {line.split()[1] for line in lines[:-1]} <= {"EACCES", "ENOENT", "EPERM"}, lines
    for result in await both(sandbox, "import os\n" + deep):
        assert "OSError" in result.stderr or "PermissionError" in result.stderr
    for (free, inodes), (free_before, inodes_before) in zip(_room_on_the_host(), before, strict=True):
        assert free_before - free < 100 << 20
        assert inodes_before - inodes < 3_000
    if sandbox.level is SandboxLevel.NAMESPACES:  # the next one's folder is empty
        # Where Python itself is installed below /tmp, the way to it is seen there.
        here_and_there = "import os\nprint(os.listdir('.'), [name for name in os.listdir('/tmp') if name.isdigit()])"
        for result in await both(sandbox, here_and_there):
            assert result.stdout == "[] []\n"


async def test_fs_dirfd_leak(sandbox: Pool, canary: Path) -> None:
    """Nothing is open but the three streams (in a session also the code and the channel), and none is a folder."""
    code = f"""
def quietly(function, *args):
    try: print('ESCAPED', function(*args))
    except OSError: pass
for fd in range(1024):
    for path in ('etc/passwd', {str(canary)[1:]!r}, '.', '..'):
        quietly(lambda: os.open(path, os.O_RDONLY, dir_fd=fd))
    if fd >= 5:
        quietly(os.fstat, fd)
"""
    await both(sandbox, attempts(code))
    fresh = await sandbox.run("import os\nfor fd in (3, 4):\n    try: print(os.fstat(fd))\n    except OSError: pass")
    assert fresh.stdout == ""
