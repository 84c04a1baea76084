"""What a worker process does to itself before it meets a tool's code: the Linux kernel then holds it to the rules.

Three layers, none of which can be taken off again, by root neither:

- *Landlock* (Linux 5.13 or newer) says which files can be opened. For reading: Python's own libraries, the system's
  shared libraries and time zones, the folder of tools and what the user names. For writing: the scratch folder.
- *seccomp*, through libseccomp, says which system calls exist. The list is of what is allowed; what is not on it fails
  with ENOSYS, and what a tool is likely to try, with EPERM. A second filter, `ChildFilter`, takes from the process of a
  call what the worker itself needs: making processes, ending them, further filters.
- *Resource limits* (`limit_resources`) bound the process of a call; all capabilities are dropped.

Not held: the time a call takes on the wall clock (that is the pool's), how many threads it starts and how many files it
leaves in its scratch folder within that time, pauses and load that others on the machine can see (side channels), and
whether a file exists, its size and its times: Landlock has no rule for stat(2), anywhere.

Standard library and pyseccomp only: a worker must start fast.
"""

import ctypes
import errno
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

_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_GET_NAME, _PR_SET_NO_NEW_PRIVS = 1, 15, 16, 38
_CLONE_THREAD = 0x10000
_CAPABILITY_VERSION_3 = 0x20080522
_SIGKILL = 9

_SYSTEM_FILES = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo"),
    *("/etc/ld.so.cache", "/etc/localtime", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/null"),
    *("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"),
)
_ALLOWED = """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close close_range dup dup2 dup3
    stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getdents getdents64
    getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
    creat ftruncate fallocate fsync fdatasync sync_file_range fadvise64 flock umask copy_file_range sendfile splice tee
    pipe pipe2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
    eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime
    sendto recvfrom sendmsg recvmsg shutdown getsockopt setsockopt getsockname getpeername
    mmap munmap mprotect mremap madvise brk msync membarrier get_mempolicy
    clone fork futex futex_waitv set_robust_list set_tid_address rseq arch_prctl exit exit_group wait4 waitid seccomp
    getpid getppid gettid getuid geteuid getgid getegid getgroups getresuid getresgid getpgrp getpgid getsid
    getrlimit getrusage times uname sysinfo getcpu getpriority capget sched_yield sched_getaffinity sched_getparam
    sched_getscheduler sched_get_priority_max sched_get_priority_min
    kill tgkill rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait sigaltstack pause
    restart_syscall alarm setitimer getitimer timer_create timer_settime timer_gettime timer_delete timer_getoverrun
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time getrandom
""".split()
# Failing with EPERM they read as what they are, not permitted. chmod, chown, utime and truncate by path are here
# because Landlock does not see them (truncate: before Linux 6.2).
_REFUSED = """
    socket connect bind listen accept accept4 vfork execve execveat ptrace mount umount2 unshare setns chroot
    pivot_root chmod fchmod fchmodat chown fchown lchown fchownat utime utimes utimensat futimesat truncate mknod
    mknodat setxattr lsetxattr fsetxattr process_vm_readv process_vm_writev bpf keyctl add_key setsid setpgid
    setuid setgid setpriority tkill rt_sigqueueinfo rt_tgsigqueueinfo memfd_create shmget reboot
""".split()
# A descriptor may send signals to any process (F_SETOWN, F_SETSIG), and change a file's attributes (FS_IOC_SETFLAGS).
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032)  # F_DUPFD … F_SETLKW, F_OFD_*, F_*CLOEXEC, F_*PIPE_SZ
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX


def missing() -> str | None:
    """What this machine lacks for `confine`, in a phrase with its remedy; None when nothing."""
    if sys.platform != "linux" or os.uname().machine not in ("x86_64", "aarch64"):
        return f"Linux on x86_64 or aarch64 (this is {sys.platform} on {os.uname().machine})"
    try:
        import pyseccomp  # noqa: F401 - it looks for the library when it is imported
    except ImportError:
        return "the package pyseccomp (pip install pyseccomp)"
    except RuntimeError:
        return "the library libseccomp (apt-get install libseccomp2)"
    if _landlock_abi() < 1:
        return "Landlock in the kernel (Linux 5.13 or newer, with landlock among its security modules: lsm=landlock,…)"
    return None


def confine(*, scratch: str, readable: Iterable[str]) -> None:
    """Hold this process, which must have one thread, and all that it will fork to the rules above, for good.

    `scratch` may be written; Python, the system's libraries and `readable` (files and folders) may be read.
    Raises OSError when the kernel refuses a step: the process must end then.
    """
    calls = _worker_filter()  # first: pyseccomp looks for its library with other programs' help
    _done(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _restrict_files(scratch, (*_SYSTEM_FILES, *python_folders(), *readable))
    _drop_capabilities()
    calls.load()


class ChildFilter:
    """What the process of a call is denied beyond its worker: processes, threads excepted, and ending any."""

    def __init__(self) -> None:
        import pyseccomp as seccomp

        self._filter = seccomp.SyscallFilter(seccomp.ALLOW)
        refuse = seccomp.ERRNO(errno.EPERM)
        for name in ("fork", "kill", "tgkill", "seccomp"):
            self._filter.add_rule(refuse, name)
        self._filter.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, 0))
        self._filter.add_rule(refuse, "prctl", seccomp.Arg(0, seccomp.EQ, _PR_SET_PDEATHSIG))

    def load(self) -> None:
        """From here on it holds."""
        self._filter.load()


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


def python_folders() -> Iterator[str]:
    """Where this interpreter keeps its libraries: the standard one's and the installed packages'."""
    for prefix in {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}:
        yield from (os.path.join(prefix, part) for part in ("lib", "lib64", "share"))
    if site.ENABLE_USER_SITE:
        yield site.getusersitepackages()


def _worker_filter() -> Any:
    import pyseccomp as seccomp

    calls = seccomp.SyscallFilter(seccomp.ERRNO(errno.ENOSYS))
    calls.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)  # the calls of another machine have other numbers

    def rule(action: int, name: str, *arguments: Any) -> None:
        if seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) != -1:  # an older libseccomp does not know the newest
            calls.add_rule(action, name, *arguments)

    for name in _ALLOWED:
        rule(seccomp.ALLOW, name)
    for name in _REFUSED:
        rule(seccomp.ERRNO(errno.EPERM), name)
    for command in _FCNTLS:
        rule(seccomp.ALLOW, "fcntl", seccomp.Arg(1, seccomp.EQ, command))
    for command in _IOCTLS:
        rule(seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, command))
    for option in (_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_GET_NAME, _PR_SET_NO_NEW_PRIVS):
        rule(seccomp.ALLOW, "prctl", seccomp.Arg(0, seccomp.EQ, option))
    rule(seccomp.ALLOW, "prlimit64", seccomp.Arg(0, seccomp.EQ, 0))  # one's own limits, nobody else's
    # asyncio's; a datagram socket could reach the sockets of others through an address in sendto
    stream = (seccomp.Arg(0, seccomp.EQ, 1), seccomp.Arg(1, seccomp.MASKED_EQ, 0xF, 1))  # AF_UNIX, SOCK_STREAM
    rule(seccomp.ALLOW, "socketpair", *stream)
    for name, flags in (("open", 1), ("openat", 2)):
        # to read, unless it truncates (Landlock does not see that before Linux 6.2); to write; to do both
        reading = os.O_ACCMODE | os.O_TRUNC
        rule(seccomp.ALLOW, name, seccomp.Arg(flags, seccomp.MASKED_EQ, reading, os.O_RDONLY))
        rule(seccomp.ALLOW, name, seccomp.Arg(flags, seccomp.MASKED_EQ, os.O_ACCMODE, os.O_WRONLY))
        rule(seccomp.ALLOW, name, seccomp.Arg(flags, seccomp.MASKED_EQ, os.O_ACCMODE, os.O_RDWR))
    return calls


def _restrict_files(scratch: str, readable: Iterable[str]) -> None:
    abi = _landlock_abi()
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


def _landlock_abi() -> int:
    """0 where the kernel has no Landlock, or has it switched off."""
    create_version = 1
    return max(0, _libc().syscall(_LANDLOCK_CREATE_RULESET, None, 0, create_version))


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
