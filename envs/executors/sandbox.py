"""What a worker process does to itself before it meets a tool's code: the Linux kernel then holds it to the rules.

Three layers, none of which can be taken off again, by root neither:

- *Landlock* (Linux 5.13 or newer) says which files can be opened. For reading: Python's own libraries, the system's
  shared libraries and time zones, the folder of tools and what the user names. For writing: the scratch folder.
- *seccomp* says which system calls exist (`system_calls.py` has the lists). The process of a call is held by a second
  filter beside its worker's, which denies it processes, ending any, and further filters.
- *Resource limits* bound the process of a call; all capabilities are dropped.

Not held: the time a call takes on the wall clock (that is the pool's); how many files it leaves in its scratch folder
within that time, and how many threads it starts (their stacks are of its memory, but small ones can be made); pauses
and load that others on the machine can see (side channels); and whether a file exists, its size, its times and where a
symbolic link points: Landlock has no rule for stat(2) and readlink(2), anywhere.

Imports little: what a worker has loaded, each fork pays for.
"""

import ctypes
import os
import resource
import site
import struct
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1  # linux/landlock.h: LANDLOCK_RULE_PATH_BENEATH
_READ_FILE, _READ_DIR, _WRITE_FILE, _TRUNCATE = 1 << 2, 1 << 3, 1 << 1, 1 << 14
_OF_FILES = 1 | _WRITE_FILE | _READ_FILE | _TRUNCATE  # what a rule about a file may speak of; the rest is of folders
_MAKE_CHAR, _MAKE_SOCK, _MAKE_BLOCK, _IOCTL_DEV = 1 << 6, 1 << 9, 1 << 11, 1 << 15
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}  # handled, from that ABI on
_NET_RIGHTS = 3  # bind and connect of TCP; from ABI 4 on
_SCOPES = 3  # abstract UNIX sockets and signals; from ABI 6 on

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_INSTRUCTION_BYTES = 8
_CAPABILITY_VERSION_3 = 0x20080522
_SIGKILL = 9

_SYSTEM_FILES = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo"),
    *("/etc/ld.so.cache", "/etc/localtime", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/null"),
    *("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"),
)


def confine(*, scratch: str, readable: Iterable[str], program: bytes) -> None:
    """Hold this process, which must have one thread, and all that it will fork to the rules above, for good.

    `scratch` may be written; Python, the system's libraries and `readable` (files and folders) may be read; `program`
    is the seccomp filter. Raises OSError when the kernel refuses a step: the process must end then.
    """
    _done(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _done(_libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "dumpable")  # /proc does not show the worker to its calls
    _restrict_files(scratch, (*_SYSTEM_FILES, *python_folders(), *readable))
    _drop_capabilities()
    filter_calls(program)


def filter_calls(program: bytes) -> None:
    """Hold this thread, and what it starts, to a seccomp filter beside those it has. Raises OSError if refused."""
    length = len(program) // _INSTRUCTION_BYTES
    description = _Program(length, program)
    _done(_libc().prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(description), 0, 0), "seccomp")


class _Program(ctypes.Structure):
    """linux/filter.h: struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def limit_resources(*, memory_bytes: int, cpu_s: int, file_bytes: int, open_files: int) -> None:
    """Limit this process: address space in all, CPU time from its start, the size of a file, open descriptors.

    The CPU's limit is announced by SIGXCPU and enforced by SIGKILL a second later.
    """
    for what, limit, most in (
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),
        (resource.RLIMIT_FSIZE, file_bytes, file_bytes),
        (resource.RLIMIT_NOFILE, open_files, open_files),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        hard = resource.getrlimit(what)[1]
        if hard != resource.RLIM_INFINITY:  # it may be lowered only
            limit, most = min(limit, hard), min(most, hard)
        resource.setrlimit(what, (limit, most))


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process when the thread that forked it ends; `parent` is that thread's process."""
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the request
        os._exit(1)


def landlock_abi() -> int:
    """0 where the kernel has no Landlock, or has it switched off."""
    create_version = 1
    return max(0, _libc().syscall(_LANDLOCK_CREATE_RULESET, None, 0, create_version))


def python_folders() -> Iterator[str]:
    """Where this interpreter keeps its libraries: the standard one's and the installed packages'."""
    for prefix in {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}:
        yield from (os.path.join(prefix, part) for part in ("lib", "lib64", "share"))
    if site.ENABLE_USER_SITE:
        yield site.getusersitepackages()


def _restrict_files(scratch: str, readable: Iterable[str]) -> None:
    abi = landlock_abi()
    handled = max(rights for since, rights in _FILE_RIGHTS.items() if since <= abi)
    fields = (handled, *((_NET_RIGHTS,) if abi >= 4 else ()), *((_SCOPES,) if abi >= 6 else ()))
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    ruleset = _syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in readable:
            _allow(ruleset, path, _READ_FILE | _READ_DIR)
        _allow(ruleset, "/dev/null", (_READ_FILE | _WRITE_FILE | _TRUNCATE) & handled)
        _allow(ruleset, scratch, handled & ~(1 | _MAKE_CHAR | _MAKE_SOCK | _MAKE_BLOCK | _IOCTL_DEV))
        _syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    """What does not exist need not be allowed."""
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        _syscall(_LANDLOCK_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, beneath), 0)
    finally:
        os.close(beneath)


def _drop_capabilities() -> None:
    header, nothing = struct.pack("Ii", _CAPABILITY_VERSION_3, 0), bytes(24)
    _done(_libc().capset(header, nothing), "capset")


def _syscall(number: int, *arguments: Any) -> int:
    return _done(_libc().syscall(ctypes.c_long(number), *arguments), f"system call {number}")


def _done(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
