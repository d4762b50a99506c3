"""What a guest sees of the machine: the interpreter's libraries, four devices and, in namespaces, a work folder.

`namespaces`: a new root that holds nothing else, no /proc and no /etc, and per guest a work folder of its own, capped
in bytes and in files. `landlock`: the same paths are readable where they are, and nothing is writable.

Not covered: at level `landlock`, `stat` and `readlink` answer for every path, so names, sizes and dates of the
host's files can be found out by guessing; their contents and the listing of folders cannot. The host's name is seen.
"""

import os
import socket
import sys
from collections.abc import Sequence

from factory.sandbox import kernel

WORK_FOLDER = "/box"
_WORK_OPTIONS = "size=64m,nr_inodes=1024,mode=0700"
_NEW_ROOT = "/sys"
"""Mounted over in a private namespace only. A folder that always exists and holds nothing that is bound into the
view, so no temporary folder is made that could stay behind."""
_DEVICES = ("null", "zero", "random", "urandom")
_SYSTEM = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/nix/store", "/usr/share/zoneinfo", "/etc/ld.so.cache")
_HOST_NAME = "sandbox"
_INSIDE_UID = 1000


def environment(level: str, hash_seed: int = 0) -> dict[str, str]:
    """The whole environment of the server and its guests: nothing of the user's, and the same everywhere."""
    fixed = {
        "PATH": "/nonexistent",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "agg",
        "MALLOC_ARENA_MAX": "1",  # an arena reserves address space, which the limit counts
    }
    fixed |= {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
    if level == "namespaces":
        fixed |= {"HOME": WORK_FOLDER, "TMPDIR": WORK_FOLDER}
    else:
        fixed |= {"MPLCONFIGDIR": "/tmp"}  # noqa: S108 - it only must exist, or matplotlib cannot be imported
    return fixed


def library_paths() -> list[str]:
    """What Python and its extension modules load from. None lies below another, none is the whole of / or a home."""
    prefixes = {sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix}
    paths = [*_SYSTEM, *(f"{prefix}/{name}" for prefix in prefixes for name in ("lib", sys.platlibdir))]
    paths += [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]
    kept: list[str] = []
    for path in sorted({os.path.normpath(path) for path in paths if os.path.isabs(path)}):
        if os.path.exists(path) and not any(path.startswith(f"{above}/") for above in kept):
            kept.append(path)
    return kept


def project_paths() -> list[str]:
    """Our own packages that a checker may import late. Not `warehouse`, whose folder holds data by default."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [f"{root}/{room}" for room in ("schemas", "quality", "factory")]


def device_paths() -> list[str]:
    """The devices that a guest may read; /dev/null takes writing, too."""
    return [f"/dev/{name}" for name in _DEVICES]


def out_of_reach(paths: Sequence[str]) -> bool:
    """Some of the paths lie behind a folder that only its owner may enter (an interpreter in a home folder)."""
    for path in paths:
        step = os.path.realpath(path)
        while step != "/":
            if not os.stat(step).st_mode & 0o001 and os.path.isdir(step):
                return True
            step = os.path.dirname(step)
    return False


def enter_namespaces(proc: int) -> None:
    """Leave the machine's network, mounts and names behind. Processes follow when a fork server begins.

    Raises:
        OSError: the kernel refuses; the message starts with the call that failed.
    """
    flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    if kernel.capabilities() >> kernel.CAP_SYS_ADMIN & 1:
        kernel.unshare(flags)
        socket.sethostname(_HOST_NAME)
        return
    _enter_user_namespace(flags, proc)
    socket.sethostname(_HOST_NAME)


def enter_process_namespace(proc: int) -> None:
    """Leave the processes of the zygote behind: the next child is pid 1 of a namespace of its own.

    An ordinary user's fork server gets a user namespace as well, so that its guests have a count of threads of their
    own. Under root each guest has a user of its own.

    Args:
        proc: /proc, opened before it went out of sight.
    """
    if kernel.capabilities() >> kernel.CAP_SETUID & 1 and os.geteuid() == 0:
        kernel.unshare(kernel.CLONE_NEWPID)
        return
    kernel.show_to_ptrace()  # or the files below would belong to root
    _enter_user_namespace(kernel.CLONE_NEWPID, proc)
    kernel.hide_from_ptrace()


def _enter_user_namespace(flags: int, proc: int) -> None:
    uid, gid = os.getuid(), os.getgid()
    kernel.unshare(flags | kernel.CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{_INSIDE_UID} {uid} 1"),
        ("gid_map", f"{_INSIDE_UID} {gid} 1"),
    ):
        descriptor = os.open(f"self/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        os.write(descriptor, text.encode())
        os.close(descriptor)


def build_root(libraries: Sequence[str]) -> None:
    """Replace the root by one that holds these paths, read-only. Needs a mount namespace of its own."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    root = _NEW_ROOT
    kernel.mount("tmpfs", root, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=0755")
    os.umask(0o022)
    for path in libraries:
        target = root + path
        if os.path.islink(path) and os.path.realpath(path).startswith("/usr/"):  # /lib -> usr/lib
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.symlink(os.readlink(path), target)
            continue
        _make_target(path, target)
        kernel.mount(path, target, None, kernel.MS_BIND | kernel.MS_REC)
        kernel.make_read_only(target)
    for path in device_paths():
        _make_target(path, root + path)
        kernel.mount(path, root + path, None, kernel.MS_BIND)
    os.mkdir(root + WORK_FOLDER)
    if not os.path.lexists(root + "/tmp"):  # noqa: S108 - a name inside the view
        os.symlink(WORK_FOLDER, root + "/tmp")  # noqa: S108
    os.mkdir(root + "/old")
    kernel.pivot_root(root, root + "/old")
    kernel.mount(
        "none", "/", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
    )


def _make_target(path: str, target: str) -> None:
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w"):
            pass


def mount_work_folder(uid: int, gid: int) -> None:
    """Give this process a work folder that no other process sees and that ends with it."""
    kernel.unshare(kernel.CLONE_NEWNS)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("tmpfs", WORK_FOLDER, "tmpfs", flags, f"{_WORK_OPTIONS},uid={uid},gid={gid}")
    os.chdir(WORK_FOLDER)
