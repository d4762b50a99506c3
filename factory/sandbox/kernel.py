"""The kernel's interfaces that Python does not wrap: namespaces, mounts, Landlock, seccomp, capabilities.

One small typed function per thing; each raises OSError with the name of what failed. No policy here.
Only ctypes is used.

Not covered: anything but Linux. Importing this module elsewhere is harmless, calling it is not.
"""

import ctypes
import functools
import os
import struct
from collections.abc import Iterable

from factory.sandbox.syscalls import machine

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_SECCOMP = 1, 4, 8, 22
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_SIGKILL = 9

CAP_DAC_READ_SEARCH, CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 2, 6, 7, 21
_LAST_CAP = 40
_CAPABILITY_HEADER = struct.pack("Ii", 0x20080522, 0)  # version 3, this process

# The newer calls have one number on every machine.
_SYS_MOUNT_SETATTR, _SYS_LANDLOCK_CREATE, _SYS_LANDLOCK_ADD, _SYS_LANDLOCK_RESTRICT = 442, 444, 445, 446

_MADV_COLLAPSE = 25
_LARGEST_HUGE_PAGE = 32 << 20
"""An aarch64 kernel with pages of 64 KB has huge ones of 512 MB, which no interpreter fills."""

ADDR_NO_RANDOMIZE = 0x0040000

LANDLOCK_ABI_NEEDED = 4
"""Linux 6.7. Below ABI 3 files could be truncated, below 4 there are no network rules."""
_FS_WRITE_FILE, _FS_READ_FILE, _FS_READ_DIR = 1 << 1, 1 << 2, 1 << 3
_FS_TRUNCATE, _FS_IOCTL_DEV = 1 << 14, 1 << 15
_FS_ABI_3 = (1 << 15) - 1
_ABI_IOCTL_DEV, _ABI_SCOPE = 5, 6


@functools.cache
def _libc() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library


@functools.cache
def _libc_in_python() -> ctypes.PyDLL:
    """The C library for calls that must not let go of the interpreter."""
    return ctypes.PyDLL(None)


@functools.cache
def _number(name: str) -> int:
    return machine().numbers[name]


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _prctl(option: int, value: int, what: str) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc().prctl(option, ctypes.c_ulong(value), zero, zero, zero), what)


# ---- processes


def fork() -> int:
    """`os.fork` without what Python does after it in the child, which costs 1.3 ms and half a megabyte of copied pages.

    That work repairs locks that another thread may have held, so this is for a process that never had a second one.
    """
    return _check(_libc_in_python().fork(), "fork")


def unshare(flags: int) -> None:
    """Move into new namespaces."""
    _check(_libc().unshare(flags), "unshare")


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends. A change of user clears it."""
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL, "prctl PDEATHSIG")


def hide_from_ptrace() -> None:
    """Not dumpable: no core, and no other process of the user may look into this one."""
    _prctl(_PR_SET_DUMPABLE, 0, "prctl DUMPABLE")


def show_to_ptrace() -> None:
    """Take `hide_from_ptrace` back, for a moment in which this process must write to its own files in /proc."""
    _prctl(_PR_SET_DUMPABLE, 1, "prctl DUMPABLE")


def personality(flags: int) -> int:
    """Set the execution domain; 0xffffffff only asks. Returns the one before."""
    return _check(_libc().personality(ctypes.c_ulong(flags)), "personality")


def no_new_privileges() -> None:
    """Programs started from here on gain nothing from set-user-id bits. Seccomp and Landlock ask for it."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "prctl NO_NEW_PRIVS")


# ---- memory


def huge_page_bytes() -> int:
    """Size of a huge page of ordinary memory; 0 where there are none, or none of a size that makes sense here."""
    try:
        with open("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size") as file:
            size = int(file.read())
    except (OSError, ValueError):
        return 0
    return size if size <= _LARGEST_HUGE_PAGE else 0


def collapse(maps: str, huge: int) -> None:
    """Put this process's memory on huge pages, wherever a whole one fits: a fork then copies, and an exit frees, less.

    Args:
        maps: The text of its /proc/self/maps.
        huge: `huge_page_bytes()`.
    """
    for line in maps.splitlines() if huge else ():
        addresses, access, _, _, inode, *_ = line.split()
        if access != "rw-p" or inode != "0":
            continue
        start, end = (int(address, 16) for address in addresses.split("-"))
        for address in range(-(-start // huge) * huge, end - huge + 1, huge):
            # Refused for untouched memory and by kernels before 6.1: nothing is lost.
            _libc().madvise(ctypes.c_void_p(address), ctypes.c_size_t(huge), _MADV_COLLAPSE)


# ---- capabilities


def capabilities() -> int:
    """Effective capabilities of this thread, a bit mask."""
    data = ctypes.create_string_buffer(24)
    _check(_libc().capget(ctypes.c_char_p(_CAPABILITY_HEADER), data), "capget")
    low, _, _, high, _, _ = struct.unpack("6I", data.raw)
    return int(low | high << 32)


def set_capabilities(keep: int = 0) -> None:
    """Keep these (a bit mask) and give up all others, for good."""
    low, high = keep & 0xFFFFFFFF, keep >> 32
    data = struct.pack("6I", low, low, 0, high, high, 0)
    _check(_libc().capset(ctypes.c_char_p(_CAPABILITY_HEADER), ctypes.c_char_p(data)), "capset")


def keep_capabilities_over_setuid() -> None:
    """A change of user then leaves the permitted set alone, so that `set_capabilities` may keep some."""
    _prctl(_PR_SET_KEEPCAPS, 1, "prctl KEEPCAPS")


def drop_bounding_set() -> None:
    """No program could gain a capability back. Without CAP_SETPCAP there is nothing to drop, so errors are ignored."""
    for capability in range(_LAST_CAP + 1):
        _libc().prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)


# ---- mounts


def _text(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Attach a file system, or change how one is attached."""
    arguments = (_text(source), _text(target), _text(kind), ctypes.c_ulong(flags), _text(data))
    _check(_libc().mount(*arguments), f"mount {source} on {target}")


def make_read_only(path: str) -> None:
    """Make a mount and all below it read-only, without set-user-id bits and devices."""
    attributes = ctypes.c_char_p(struct.pack("QQQQ", MS_RDONLY | MS_NOSUID | MS_NODEV, 0, 0, 0))
    result = _libc().syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), _AT_RECURSIVE, attributes, ctypes.c_size_t(32)
    )
    _check(result, f"mount_setattr {path}")


def pivot_root(new_root: str, old_root: str) -> None:
    """Make `new_root` the root and put the old one below it, then let go of the old one."""
    _check(_libc().syscall(_number("pivot_root"), os.fsencode(new_root), os.fsencode(old_root)), "pivot_root")
    os.chdir("/")
    inside = "/" + os.path.relpath(old_root, new_root)
    _check(_libc().umount2(os.fsencode(inside), _MNT_DETACH), "umount2")
    os.rmdir(inside)


# ---- Landlock


def landlock_abi() -> int:
    """Version of Landlock in this kernel, 0 without."""
    return max(int(_libc().syscall(_SYS_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)), 0)


def landlock_ruleset(*, files: bool, readable: Iterable[str] = (), writable_files: Iterable[str] = ()) -> int:
    """A ruleset as a descriptor: no network, no signals to others, and, if `files`, only these paths.

    Raises:
        OSError: the kernel's Landlock is missing or too old.
    """
    abi = landlock_abi()
    if abi < LANDLOCK_ABI_NEEDED:
        raise OSError(f"Landlock ABI {LANDLOCK_ABI_NEEDED} (Linux 6.7) is needed, this kernel has {abi or 'none'}")
    all_files = _FS_ABI_3 | (_FS_IOCTL_DEV if abi >= _ABI_IOCTL_DEV else 0)
    attributes = struct.pack("QQQ", all_files if files else 0, 0b11, 0b11)  # bind, connect; abstract sockets, signals
    size = 24 if abi >= _ABI_SCOPE else 16
    ruleset = _check(
        _libc().syscall(_SYS_LANDLOCK_CREATE, ctypes.c_char_p(attributes), ctypes.c_size_t(size), 0),
        "landlock_create_ruleset",
    )
    if files:
        for path in readable:
            _allow_path(ruleset, path, _FS_READ_FILE | _FS_READ_DIR)
        for path in writable_files:
            _allow_path(ruleset, path, _FS_READ_FILE | _FS_WRITE_FILE)
    return ruleset


def _allow_path(ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            access &= _FS_READ_FILE | _FS_WRITE_FILE
        rule = ctypes.c_char_p(struct.pack("=Qi", access, descriptor))
        _check(_libc().syscall(_SYS_LANDLOCK_ADD, ruleset, 1, rule, 0), f"landlock_add_rule {path}")
    finally:
        os.close(descriptor)


def landlock_restrict(ruleset: int) -> None:
    """Bind this thread, and all it starts, to the ruleset for good."""
    _check(_libc().syscall(_SYS_LANDLOCK_RESTRICT, ruleset, 0), "landlock_restrict_self")


# ---- seccomp


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def install_filter(program: bytes, *, all_threads: bool = False) -> None:
    """Filter the system calls of this thread and all it starts; `all_threads`: of threads that already run, too."""
    code = ctypes.create_string_buffer(program, len(program))
    argument = _Program(len(program) // 8, ctypes.addressof(code))
    set_mode_filter, thread_sync = 1, 1
    flags = thread_sync if all_threads else 0
    result = _libc().syscall(_number("seccomp"), set_mode_filter, flags, ctypes.byref(argument))
    if result > 0:  # the id of a thread that has a filter of its own
        raise OSError(f"seccomp: thread {result} cannot be brought under the same filter")
    _check(result, "seccomp")
