"""The zygote: confines itself, loads the libraries, and forks a fork server (`server`) per slot. Trusted code only.

It is started by `launcher.Launcher` as a program of its own. All servers of a sandbox come from one zygote, so numpy
and sympy are loaded once and lie in memory once, and a server that died is back within milliseconds.

When the supervisor goes, the socket ends and everything here is killed; when this process goes, the kernel kills its
children (parent-death signal and, in namespaces, the end of a server's pid 1).

Not covered: flaws of the kernel itself, and what can be told from timing.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

from factory.sandbox import interpreter, kernel, seccomp, server, view
from factory.sandbox.guest import Setup
from factory.sandbox.wire import MESSAGE_BYTES, START, Answer, Reply

_WARM_UP = """
import sympy
x, y = sympy.symbols("x y")
for a in range(2, 10):
    sympy.solve(sympy.expand((x - a) * (x + a + 1) * (x - 2*a - 3)), x)
    sympy.solve(x**2 - a*x - a, x)
    sympy.solve([x + a*y - 3, x - y - 1], [x, y])
    sympy.factor(sympy.expand((x + a)**3))
    sympy.diff(sympy.exp(a*x) * x, x).subs(x, a)
    sympy.Rational(1, a) + sympy.sqrt(8*a)
sympy.simplify(sympy.sin(x)**2 + sympy.cos(x)**2)
sympy.integrate(x * sympy.exp(x), (x, 0, 1)).evalf()
m = sympy.Matrix([[1, 2], [3, 4]])
str(sympy.latex(m.inv())), m.det(), m.eigenvals()
"""
"""Fills sympy's caches: a first solve of a cold sympy takes ten times as long. What is run often enough, Python makes
faster by rewriting its code, which a guest would pay for with copied pages; hence the loop."""

_LARGEST_SMALL_OBJECT = 512
_POOL_BYTES = 16 << 10
"""Of Python's allocator since 3.10."""
_MOST_GAP_BYTES = 512 << 10
"""Per size of object."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Config:
    """What the supervisor decides. The first message on the socket, as JSON."""

    level: str
    preload: list[str]
    supervisor_pid: int


def main(descriptor: int) -> None:
    """Run on the control socket `descriptor` until it ends."""
    _fix_addresses()
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    config = Config(**json.loads(control.recv(MESSAGE_BYTES)))
    try:
        setup = _confine(config)
    except OSError as error:
        text = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
        control.send(Reply(Answer.FAILED, text=text).pack())
        return
    control.send(Reply(Answer.READY).pack())
    _serve(control, setup)


def _fix_addresses() -> None:
    """Start again with address randomisation off: sets of objects then iterate in one order. Some containers refuse."""
    with contextlib.suppress(OSError):
        before = kernel.personality(0xFFFFFFFF)
        if not before & kernel.ADDR_NO_RANDOMIZE:
            kernel.personality(before | kernel.ADDR_NO_RANDOMIZE)
            os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - this very program


def _confine(config: Config) -> Setup:
    """Enter the level, load the libraries inside it, and give up what a fork server does not need."""
    libraries = view.library_paths()
    isolated = config.level != "none"
    _die_with(config.supervisor_pid)
    proc = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
    if config.level == "namespaces":
        view.enter_namespaces(proc)
    sizes = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)  # /proc is out of sight soon
    maps = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
    huge = kernel.huge_page_bytes()
    if config.level == "namespaces":
        view.build_root(libraries)
    kernel.no_new_privileges()
    if config.level == "landlock":
        readable = [*libraries, *view.device_paths()]
        kernel.landlock_restrict(kernel.landlock_ruleset(files=True, readable=readable, writable_files=["/dev/null"]))
        os.chdir("/")
    if isolated:
        kernel.hide_from_ptrace()
    _load(config.preload)
    with open(maps) as file:
        kernel.collapse(file.read(), huge)
    change_user = isolated and os.geteuid() == 0 and _may(kernel.CAP_SETUID, kernel.CAP_SETGID)
    keep = 0
    if change_user and config.level == "landlock" and view.out_of_reach(libraries):
        # The guest's user could not enter the folder of the interpreter. Landlock still limits it to the libraries.
        change_user = _may(kernel.CAP_DAC_READ_SEARCH)
        keep = 1 << kernel.CAP_DAC_READ_SEARCH if change_user else 0
    ruleset = kernel.landlock_ruleset(files=False) if _needs_ruleset(config.level) else None
    kernel.drop_bounding_set()
    address, resident, *_, data, _ = (int(pages) * _PAGE_BYTES for pages in os.pread(sizes, 200, 0).split())
    os.close(sizes)
    return Setup(
        level=config.level,
        address_bytes=address,
        data_bytes=data,
        resident_kb=resident >> 10,
        change_user=change_user,
        keep_capabilities=keep,
        ruleset=ruleset,
        program=seccomp.guest_program() if isolated else None,
        proc=proc,
    )


def _may(*needed: int) -> bool:
    held = kernel.capabilities()
    return all(held >> capability & 1 for capability in needed)


def _needs_ruleset(level: str) -> bool:
    """Landlock on top of namespaces is a second wall: taken where the kernel has it, not asked for."""
    return level == "landlock" or (level == "namespaces" and kernel.landlock_abi() >= kernel.LANDLOCK_ABI_NEEDED)


def _die_with(parent: int) -> None:
    """End when the parent does, even if it ended a moment ago."""
    kernel.die_with_parent()
    if os.getppid() != parent:
        os._exit(1)


def _load(modules: list[str]) -> None:
    """Import what is there. A guest can import the rest itself, only slower."""
    for module in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    if "sympy" in sys.modules:
        exec(_WARM_UP, {"__name__": "warm_up"})  # noqa: S102 - our own text
    interpreter.prepare()
    gc.collect()
    _plugs.extend(_fill_gaps())
    gc.freeze()
    gc.disable()  # guests turn it on again; a collection here would unshare pages


_plugs: list[object] = []


def _fill_gaps() -> Iterator[object]:
    """Objects for the gaps that imports left in the allocator's pools.

    What is allocated later then lies side by side, instead of one object a page, and fewer pages are copied.
    """
    for size in range(48, _LARGEST_SMALL_OBJECT + 1, 16):
        whole_pool, neighbours, last = (_POOL_BYTES - 48) // size, 0, 0
        for _ in range(_MOST_GAP_BYTES // size):
            plug = bytes(size - sys.getsizeof(b""))
            neighbours = neighbours + 1 if id(plug) - last == size else 0
            last = id(plug)
            yield plug
            if neighbours >= whole_pool - 1:  # all of a pool in a row: it was empty, so no gap is left
                break


def _serve(control: socket.socket, setup: Setup) -> None:
    """Fork servers as they are asked for, and reap them, until the supervisor closes its end."""
    servers: dict[int, int] = {}  # pid by pidfd
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in servers:
                poll.unregister(descriptor)
                os.close(descriptor)
                os.waitpid(servers.pop(descriptor), 0)
                continue
            data, received, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
            if not data:  # the supervisor is gone, and its ends of the servers' sockets too: they leave by themselves
                for pidfd in servers:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                return
            (slot,) = START.unpack(data)
            zygote_pid = os.getpid()
            pid = kernel.fork()
            if pid == 0:
                for other in (control.detach(), *servers):
                    os.close(other)
                _become_server(replace(setup, slot=slot), zygote_pid, received[0])
            os.close(received[0])
            pidfd = os.pidfd_open(pid)
            servers[pidfd] = pid
            poll.register(pidfd, select.POLLIN)
            socket.send_fds(control, [Reply(Answer.SPAWNED, slot).pack()], [pidfd])


def _become_server(setup: Setup, zygote_pid: int, descriptor: int) -> NoReturn:
    """In the forked child: be the fork server of a slot."""
    control = socket.socket(fileno=descriptor)
    try:
        _die_with(zygote_pid)
        if setup.level == "namespaces":
            _become_first_process(setup.proc)
        if setup.level != "none":
            kernel.install_filter(seccomp.zygote_program())
        server.serve(control, replace(setup, server_pid=os.getpid()))
    except OSError as error:
        control.send(Reply(Answer.FAILED, text=str(error)).pack())
    finally:
        os._exit(0)


def _become_first_process(proc: int) -> None:
    """Fork into a pid namespace of the server's own. The outer process only waits: either end takes the other along."""
    view.enter_process_namespace(proc)
    os.close(proc)
    child = kernel.fork()
    if child:
        os.closerange(0, 1024)
        _, status = os.waitpid(child, 0)
        os._exit(1 if status else 0)
    kernel.die_with_parent()
    if os.getpid() != 1:
        raise OSError("the first process of the new pid namespace is not number 1")
