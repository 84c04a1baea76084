"""Which system calls a worker of Python tools may make, and which the process of a call: two seccomp filters.

They are put together here, by libseccomp in the pool's process, and handed to the workers as the kernel's programs. The
list is of what is allowed; what is not on it fails with ENOSYS, as on an older kernel, and what a tool is likely to
try, with EPERM.
"""

import errno
import os
import sys
import tempfile
from typing import Any

from envs.executors.sandbox import landlock_abi

_CLONE_THREAD = 0x10000
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_GET_NAME, _PR_SET_SECCOMP = 1, 15, 16, 22
_ALLOWED = """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close close_range dup dup2 dup3
    stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getdents getdents64
    getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
    creat ftruncate fallocate fsync fdatasync sync_file_range fadvise64 flock umask copy_file_range sendfile splice tee
    pipe pipe2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
    eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime
    sendto recvfrom sendmsg recvmsg shutdown getsockopt setsockopt getsockname getpeername
    mmap munmap mprotect mremap madvise brk msync membarrier get_mempolicy
    clone fork futex futex_waitv set_robust_list set_tid_address rseq arch_prctl exit exit_group wait4 waitid
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
    """What this machine lacks for the sandbox, in a phrase with its remedy; None when nothing."""
    if sys.platform != "linux" or os.uname().machine not in ("x86_64", "aarch64"):
        return f"Linux on x86_64 or aarch64 (this is {sys.platform} on {os.uname().machine})"
    try:
        import pyseccomp  # noqa: F401 - it looks for the library when it is imported
    except ImportError:
        return "the package pyseccomp (pip install pyseccomp)"
    except RuntimeError:
        return "the library libseccomp (apt-get install libseccomp2)"
    if landlock_abi() < 1:
        return "Landlock in the kernel (Linux 5.13 or newer, with landlock among its security modules: lsm=landlock,…)"
    return None


def worker_program() -> bytes:
    """The filter of a worker: no network, no other program, nobody else's process, files or settings."""
    import pyseccomp as seccomp

    calls = seccomp.SyscallFilter(seccomp.ERRNO(errno.ENOSYS))

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
    for option in (_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_GET_NAME, _PR_SET_SECCOMP):
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
    return _program(calls)


def call_program() -> bytes:
    """What the process of a call is denied beyond its worker: processes, threads excepted, and ending any."""
    import pyseccomp as seccomp

    calls = seccomp.SyscallFilter(seccomp.ALLOW)
    refuse = seccomp.ERRNO(errno.EPERM)
    for name in ("fork", "kill", "tgkill"):
        calls.add_rule(refuse, name)
    calls.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, 0))
    for option in (_PR_SET_PDEATHSIG, _PR_SET_SECCOMP):
        calls.add_rule(refuse, "prctl", seccomp.Arg(0, seccomp.EQ, option))
    return _program(calls)


def _program(calls: Any) -> bytes:
    """The filter as the kernel takes it."""
    import pyseccomp as seccomp

    calls.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)  # the calls of another machine have other numbers
    with tempfile.TemporaryFile() as file:
        calls.export_bpf(file)
        file.seek(0)
        return file.read()
