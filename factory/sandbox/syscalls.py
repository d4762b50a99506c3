"""System call numbers per machine, and which of them the sandbox lets through.

The policy is written in names, so a second machine needs a number table here and nothing else; a name that a machine
does not have (aarch64 has no `open`) is skipped. Anything not named is refused.

Not covered: machines other than these; `machine()` says so. The table of aarch64 is checked against the kernel's header
and by an emulated filter (`tests/sandbox/test_filters.py`); it was not run on such a machine.
"""

import platform
from dataclasses import dataclass

_X86_64 = """
read 0 write 1 open 2 close 3 stat 4 fstat 5 lstat 6 poll 7 lseek 8 mmap 9 mprotect 10 munmap 11 brk 12
rt_sigaction 13 rt_sigprocmask 14 rt_sigreturn 15 ioctl 16 pread64 17 pwrite64 18 readv 19 writev 20 access 21 pipe 22
select 23 sched_yield 24 mremap 25 msync 26 madvise 28 dup 32 dup2 33 pause 34 nanosleep 35 getitimer 36 alarm 37
setitimer 38 getpid 39 sendto 44 recvfrom 45 sendmsg 46 recvmsg 47 shutdown 48 socketpair 53 getsockopt 55 clone 56
exit 60 wait4 61 kill 62 uname 63 fcntl 72 fsync 74 fdatasync 75 truncate 76 ftruncate 77 getcwd 79 chdir 80
fchdir 81 rename 82 mkdir 83 rmdir 84 unlink 87 readlink 89 umask 95 gettimeofday 96 getrlimit 97 getrusage 98
sysinfo 99 times 100 getuid 102 getgid 104 geteuid 107 getegid 108 getppid 110 getpgrp 111 setsid 112 getgroups 115
setgroups 116 setresuid 117 getresuid 118 setresgid 119 getresgid 120 getpgid 121 getsid 124 capset 126
rt_sigpending 127 rt_sigtimedwait 128 sigaltstack 131 statfs 137 fstatfs 138 getpriority 140 sched_getparam 143
sched_getscheduler 145 pivot_root 155 prctl 157 arch_prctl 158 setrlimit 160 mount 165 gettid 186 time 201 futex 202
sched_getaffinity 204 getdents64 217 set_tid_address 218 restart_syscall 219 fadvise64 221 clock_gettime 228
clock_getres 229 clock_nanosleep 230 exit_group 231 epoll_wait 232 epoll_ctl 233 tgkill 234 waitid 247 openat 257
mkdirat 258 newfstatat 262 unlinkat 263 renameat 264 readlinkat 267 faccessat 269 pselect6 270 ppoll 271 unshare 272
set_robust_list 273 get_robust_list 274 epoll_pwait 281 timerfd_create 283 eventfd 284 fallocate 285
timerfd_settime 286 timerfd_gettime 287 eventfd2 290 epoll_create1 291 dup3 292 pipe2 293 preadv 295 pwritev 296
prlimit64 302 getcpu 309 renameat2 316 seccomp 317 getrandom 318 copy_file_range 326 preadv2 327
pwritev2 328 statx 332 rseq 334 pidfd_send_signal 424 pidfd_open 434 clone3 435 close_range 436 faccessat2 439
epoll_pwait2 441 landlock_restrict_self 446 futex_waitv 449
"""

_AARCH64 = """
getcwd 17 eventfd2 19 epoll_create1 20 epoll_ctl 21 epoll_pwait 22 dup 23 dup3 24 fcntl 25 ioctl 29
mkdirat 34 unlinkat 35 renameat 38 mount 40 pivot_root 41 statfs 43 fstatfs 44 truncate 45 ftruncate 46 fallocate 47
faccessat 48 chdir 49 fchdir 50 openat 56 close 57 pipe2 59 getdents64 61 lseek 62 read 63 write 64 readv 65 writev 66
pread64 67 pwrite64 68 preadv 69 pwritev 70 pselect6 72 ppoll 73 readlinkat 78 newfstatat 79 fstat 80 fsync 82
fdatasync 83 timerfd_create 85 timerfd_settime 86 timerfd_gettime 87 capset 91 exit 93 exit_group 94 waitid 95
set_tid_address 96 unshare 97 futex 98 set_robust_list 99 get_robust_list 100 nanosleep 101 getitimer 102
setitimer 103 clock_gettime 113 clock_getres 114 clock_nanosleep 115 sched_getscheduler 120 sched_getparam 121
sched_getaffinity 123 sched_yield 124 restart_syscall 128 kill 129 tgkill 131 sigaltstack 132 rt_sigaction 134
rt_sigprocmask 135 rt_sigpending 136 rt_sigtimedwait 137 rt_sigreturn 139 getpriority 141 setresuid 147 getresuid 148
setresgid 149 getresgid 150 times 153 getpgid 155 getsid 156 setsid 157 getgroups 158 setgroups 159 uname 160
getrlimit 163 setrlimit 164 getrusage 165 umask 166 prctl 167 getcpu 168 gettimeofday 169 getpid 172 getppid 173
getuid 174 geteuid 175 getgid 176 getegid 177 gettid 178 sysinfo 179 socketpair 199 sendto 206 recvfrom 207
getsockopt 209 shutdown 210 sendmsg 211 recvmsg 212 brk 214 munmap 215 mremap 216 clone 220 mmap 222 fadvise64 223
mprotect 226 msync 227 madvise 233 wait4 260 prlimit64 261 renameat2 276 seccomp 277 getrandom 278
copy_file_range 285 preadv2 286 pwritev2 287 statx 291 rseq 293 pidfd_send_signal 424 pidfd_open 434 clone3 435
close_range 436 faccessat2 439 epoll_pwait2 441 landlock_restrict_self 446 futex_waitv 449
"""
"""The numbers of asm-generic/unistd.h. Calls that a newer one replaces are not there: `openat` for `open`, `ppoll` for
`poll`, `clone` for `fork`. The constants that a filter looks at are those of x86-64: of the flags of `open`, only
O_DIRECTORY, O_NOFOLLOW and O_DIRECT differ."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a filter must know of a processor."""

    name: str
    audit_arch: int
    """AUDIT_ARCH_*: a call made through another entry (32 bit) carries another value, and other numbers."""
    x32_bit: int | None
    """Set in the numbers of a second ABI that shares the audit value; null where there is none."""
    numbers: dict[str, int]

    def of(self, names: frozenset[str]) -> list[int]:
        """Numbers of those names that this machine has, sorted."""
        return sorted(self.numbers[name] for name in names if name in self.numbers)


def _table(text: str) -> dict[str, int]:
    words = text.split()
    return {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}


MACHINES = {
    "x86_64": Machine("x86_64", 0xC000003E, 0x40000000, _table(_X86_64)),
    "aarch64": Machine("aarch64", 0xC00000B7, None, _table(_AARCH64)),
}


def machine() -> Machine:
    """The running machine.

    Raises:
        OSError: there is no table for it.
    """
    name = platform.machine()
    if name not in MACHINES:
        raise OSError(f"no system call table for {name} (there is one for {', '.join(MACHINES)})")
    return MACHINES[name]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LOOK = _names(
    """read close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn pread64
    readv access select sched_yield mremap madvise dup dup2 dup3 pause nanosleep getitimer alarm setitimer getpid exit
    wait4 uname getcwd readlink umask gettimeofday getrlimit getrusage sysinfo times getuid getgid geteuid getegid
    getppid getpgrp getgroups getresuid getresgid getpgid getsid rt_sigpending rt_sigtimedwait sigaltstack statfs
    fstatfs getpriority sched_getparam sched_getscheduler arch_prctl gettid time futex sched_getaffinity getdents64
    set_tid_address restart_syscall fadvise64 clock_gettime clock_getres clock_nanosleep exit_group waitid newfstatat
    readlinkat faccessat pselect6 ppoll set_robust_list get_robust_list getcpu getrandom preadv preadv2
    statx rseq close_range faccessat2 futex_waitv"""
)
_WRITE = _names("write pwrite64 writev pwritev pwritev2")
_LOOPS = _names(
    """epoll_wait epoll_ctl epoll_pwait epoll_create1 epoll_pwait2 timerfd_create timerfd_settime timerfd_gettime
    eventfd eventfd2 pipe pipe2 recvfrom shutdown getsockopt"""
)
"""What an event loop within one process needs. `recvfrom` is useless without a socket of one's own."""
_FILES = _names(
    """open openat msync fsync fdatasync truncate ftruncate chdir fchdir rename mkdir rmdir unlink mkdirat
    unlinkat renameat renameat2 fallocate copy_file_range"""
)

GUEST = _LOOK | _WRITE | _LOOPS | _FILES
"""Model-written code; `seccomp` looks at the arguments of some. Left out on purpose although harmless in a private work
folder: chmod, chown, utime and xattr calls, because Landlock does not look at them; and flock, which would let guests
signal each other through a library's file."""

ZYGOTE_ONLY = _names(
    """sendmsg recvmsg setsid setgroups setresuid setresgid capset setrlimit mount unshare seccomp pidfd_send_signal
    pidfd_open landlock_restrict_self"""
)
"""What the fork server needs on top of GUEST. Every child gives it up before it runs a line of the guest."""

CHECKER = _LOOK | _WRITE | _LOOPS
"""Our own answer checkers: no path is ever opened for writing, see `seccomp.checker_program`."""
