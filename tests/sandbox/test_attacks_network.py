"""Attacks on the network: listeners of the host stand ready, and nobody may reach them."""

import contextlib
import os
import platform
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from factory.sandbox.pool import Pool
from schemas.vocabulary import ExecStatus
from tests.sandbox.tools import attempts, both

pytestmark = pytest.mark.asyncio(loop_scope="package")
PRELOAD = ()


@dataclass(frozen=True, slots=True)
class Listeners:
    """Sockets of the host that hear whatever reaches them."""

    port: int
    path: str
    abstract: str
    sockets: tuple[socket.socket, ...]

    def heard(self) -> list[object]:
        """Connections and datagrams."""
        found: list[object] = []
        for one in self.sockets:
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                found.append(one.recv(10) if one.type == socket.SOCK_DGRAM else one.accept())
        return found


@pytest.fixture
def listeners(canary: Path) -> Iterator[Listeners]:
    path, abstract = str(canary.parent / "socket"), f"\0sandbox-test-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(tcp.getsockname())
        found = [tcp, udp]
        for kind, suffix in ((socket.SOCK_STREAM, ""), (socket.SOCK_DGRAM, ".d")):
            for address in (path, abstract):
                one = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
                one.bind(address + suffix)
                if kind == socket.SOCK_STREAM:
                    one.listen()
                found.append(one)
        for suffix in ("", ".d"):
            os.chmod(path + suffix, 0o777)
        yield Listeners(tcp.getsockname()[1], path, abstract, tuple(found))


async def test_net_loopback(sandbox: Pool, listeners: Listeners) -> None:
    code = f"""
import socket
address = ('127.0.0.1', {listeners.port})
attempt('tcp', socket.create_connection, address, 1)
attempt('udp', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', address))
attempt('listen', socket.create_server, ('127.0.0.1', 0))
for family in (*range(1, 46), 10**6):
    for kind in (1, 2, 3, 5):
        attempt(f'socket {{family}} {{kind}}', call, 'socket', family, kind, 0)
for family in (0, 2, 10, 16, 40):
    attempt(f'pair {{family}}', call, 'socketpair', family, 1, 0, (ctypes.c_int * 2)())
"""
    await both(sandbox, attempts(code))
    assert listeners.heard() == []


async def test_net_unix(sandbox: Pool, listeners: Listeners) -> None:
    code = f"""
import array, socket
for address in ({listeners.path!r}, {listeners.abstract!r}):
    attempt('connect', lambda: socket.socket(socket.AF_UNIX).connect(address))
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        a, b = socket.socketpair(socket.AF_UNIX, kind)
        attempt('connect a pair', a.connect, address)
        attempt('sendto', a.sendto, b'x', address + '.d')
        attempt('sendmsg', a.sendmsg, [b'x'], [], 0, address + '.d')
        attempt('bind', a.bind, 'x')
        attempt('listen', a.listen)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0]))]
        attempt('send a descriptor', a.sendmsg, [b'x'], rights)
        attempt('receive a message', b.recvmsg, 10, 100, socket.MSG_DONTWAIT)
        attempt('sendto by the channel', call, 'sendto', 4, b'x', 1, 0, b'\\1\\0' + address.encode(), 100)
"""
    await both(sandbox, attempts(code))
    assert listeners.heard() == []


async def test_net_iouring(sandbox: Pool) -> None:
    code = """
attempt('setup', call, 'io_uring_setup', 8, ctypes.create_string_buffer(256))
attempt('enter', call, 'io_uring_enter', 0, 0, 0, 0, 0, 0)
attempt('register', call, 'io_uring_register', -1, 0, 0, 0)
"""
    await both(sandbox, attempts(code))


async def test_net_by_other_doors_of_the_kernel(sandbox: Pool) -> None:
    """socket() as a 32-bit call and as an x32 call: a filter sees other numbers there."""
    if platform.machine() != "x86_64":
        pytest.skip("these doors are those of x86-64")
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
    await both(sandbox, attempts("NUMBERS['x32'] = 0x40000000 + 41\nattempt('x32', call, 'x32', 2, 1, 0)"))


async def test_net_the_channel_does_not_lead_to_the_supervisor(sandbox: Pool) -> None:
    """A socket names its peer, and since Linux 6.5 gives out a pidfd of it, even out of a pid namespace."""
    code = """
so_peercred, so_peergroups, so_peerpidfd = 17, 59, 77
for name, option in (('process', so_peercred), ('pidfd', so_peerpidfd), ('groups', so_peergroups)):
    size = ctypes.c_int(400)
    attempt(f'peer {name}', call, 'getsockopt', 4, 1, option, ctypes.create_string_buffer(400), ctypes.byref(size))
"""
    await both(sandbox, attempts(code))
