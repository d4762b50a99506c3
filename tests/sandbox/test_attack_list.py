"""The attacks that the sandbox was promised to withstand; every one is a test by its name."""

import re
from pathlib import Path

PROMISED = """
net_loopback net_unix net_iouring fs_secrets fs_env fs_proc_root fs_links fs_write_outside fs_disk_inode_fill
fs_dirfd_leak proc_kill proc_ptrace_mem proc_fork_bomb proc_daemon proc_hold_stdout proc_threads proc_exec time_loops
time_defiant time_atexit mem_private mem_shared mem_rlimit out_flood out_evil_exc out_bytes crash exit_paths close_fds
pollute
"""


def test_every_promised_attack_is_a_test() -> None:
    tests = {
        name
        for path in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"def test_(\w+)", path.read_text())
    }
    assert len(PROMISED.split()) == 30
    assert set(PROMISED.split()) <= tests
