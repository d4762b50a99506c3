"""Confine this very process for good: for our own workers that parse model-written answers with sympy.

sympy's parser evaluates what it is given, so a hostile answer can run code. Such a worker then finds: no file to write,
no file to read but the interpreter's libraries, no socket, no new process or program, no other process to signal.
Threads and descriptors that are open already (its pipes) go on working.

Not covered: time and memory, which the caller limits by killing the worker; open descriptors; and at a kernel that
cannot bring running threads under Landlock, reading of files through such a thread by code that hijacks it.
"""

import os
import sys

from factory.sandbox import kernel, seccomp, view
from factory.sandbox.syscalls import MACHINES
from schemas.errors import SandboxError
from schemas.vocabulary import SandboxLevel


def confine_process(readable: tuple[str, ...] = ()) -> SandboxLevel:
    """Confine the calling process, irrevocably. Can be pickled, so it serves as a pool's initializer.

    Call it in the thread that will do the work, after the heavy imports: what is imported later is read-only, and
    compiled files of it are not written.

    Args:
        readable: Further files or folders that may be read.

    Returns:
        The level reached, `landlock`.

    Raises:
        SandboxError: the kernel refuses. The process may be confined in part, and should end.
    """
    if sys.platform != "linux":
        raise SandboxError("A process can be confined on Linux only. --i-trust-this-code runs without confinement.")
    paths = [*view.library_paths(), *view.project_paths(), *view.device_paths(), *readable]
    try:
        kernel.no_new_privileges()
        ruleset = kernel.landlock_ruleset(files=True, readable=paths)
        try:
            kernel.landlock_restrict(ruleset)
        finally:
            os.close(ruleset)
        kernel.hide_from_ptrace()
        kernel.drop_bounding_set()
        kernel.set_capabilities()
        program = seccomp.own(seccomp.checker_program(), os.getpid())
        kernel.install_filter(program, all_threads=True)
    except OSError as error:
        raise SandboxError(
            f"This process cannot be confined: {error.strerror or error}.\n"
            f"  needs: Linux 6.7 or later with Landlock, on {', '.join(MACHINES)}\n"
            f"  or:    --i-trust-this-code runs the checkers without confinement"
        ) from error
    return SandboxLevel.LANDLOCK
