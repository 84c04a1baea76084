"""Python tools in their pool: what the kernel holds hostile ones to, and that no call is affected by another.

The tools below are real files with real attacks, run by real workers. Where a machine has no sandbox, they do not run.
"""

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from envs.executors import python_process, system_calls
from envs.executors.backend import Reply
from envs.executors.python_config import PythonConfig
from envs.executors.python_pool import PythonPool
from envs.types import ToolStatus
from retriever.base.errors import InfraError, UserError
from retriever.tools import ToolDoc

LACK = system_calls.missing()
pytestmark = pytest.mark.skipif(LACK is not None, reason=f"needs a kernel sandbox: {LACK}")

OK, ERROR, UNKNOWN = ToolStatus.OK, ToolStatus.TOOL_ERROR, ToolStatus.UNKNOWN_TOOL
SOUND = "def sound():\n    import json\n    return json.dumps([len('abc')])\n"


def tool(id: str) -> ToolDoc:
    return ToolDoc(id=id, name=id.rpartition("/")[2], description="", parameters={"type": "object"})


class Tools:
    """A folder of tools, and a pool over it that each `with` opens and closes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("sound", SOUND)

    def write(self, file: str, source: str) -> None:
        path = self.folder / f"{file}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="utf-8")

    def run(self, body: Callable[[PythonPool], Awaitable[Any]], **config: Any) -> Any:
        """What `body(pool)` gives; nothing of the pool is left behind."""

        async def main() -> Any:
            pool = PythonPool(PythonConfig(folder=str(self.folder), **config))
            try:
                return await body(pool)
            finally:
                groups = [worker._process.pid for worker in (*pool._idle, *pool._busy)]
                await pool.close()
                assert pool._scratch is None or not Path(pool._scratch.path).exists()
                assert [group for group in groups if _group_lives(group)] == []

        return asyncio.run(main())

    def attack(self, source: str, *, timeout_s: float = 20.0, **config: Any) -> Reply:
        """The reply of `attack()` as `source` has it; the one worker's next call must be sound."""
        self.write("hostile", source)

        async def body(pool: PythonPool) -> Reply:
            started = time.monotonic()
            try:
                reply = await pool.run(tool("hostile/attack"), {}, timeout_s=timeout_s)
            except TimeoutError:
                reply = Reply(text="", status=ToolStatus.TIMEOUT)
            assert time.monotonic() - started < timeout_s + 5  # and the time to start a worker
            assert await pool.run(tool("sound/sound"), {}, timeout_s=20) == Reply(text="[3]")
            return reply

        reply: Reply = self.run(body, workers=1, **config)
        return reply

    def call(self, function: str, arguments: dict[str, Any] | None = None, **config: Any) -> Reply:
        reply: Reply = self.run(lambda pool: pool.run(tool(function), arguments or {}, timeout_s=20), **config)
        return reply


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    folder = tmp_path / "tools"
    folder.mkdir()
    return Tools(folder)


def _group_lives(group: int) -> bool:
    for _ in range(50):  # a killed process is there until someone has waited for it
        found = subprocess.run(["pgrep", "-g", str(group), "-r", "R,S,D,T"], capture_output=True, check=False)
        if found.returncode != 0:
            return False
        time.sleep(0.1)
    return True


# What a tool may be, and how its result reads.


def test_a_tool_is_a_function_of_a_file_in_the_folder(tools: Tools) -> None:
    tools.write(
        "helper", "from dataclasses import dataclass\n@dataclass\nclass Order:\n    id: str\n    when: object\n"
    )
    tools.write("shop/near", "PRICE = 3\n")
    tools.write(
        "shop/orders",
        """
        import asyncio, datetime
        from helper import Order
        from near import PRICE

        def text(word: str) -> str: return word
        def by_place(a, /, b, *, c=PRICE): return [a, b, c]
        async def later(n: int): await asyncio.sleep(0.001); return n
        def order(): return {"é": Order("A1", datetime.date(2024, 5, 1)), "set": {7}}
        def keys(): return {(1, 2): 3}
        def nothing(): return None
        def wrong(): raise KeyError("no order A9")
        def leaves(): raise SystemExit(3)
        def surrogate(): return "a\\ud800b"
        not_a_function = 3
        """,
    )
    said: dict[str, tuple[dict[str, Any], str]] = {
        "text": ({"word": "é"}, "é"),
        "by_place": ({"b": 2, "a": 1}, "[1, 2, 3]"),
        "later": ({"n": 5}, "5"),
        "order": ({}, '{"é": {"id": "A1", "when": "2024-05-01"}, "set": [7]}'),
        "keys": ({}, "{(1, 2): 3}"),
        "nothing": ({}, "null"),
        "surrogate": ({}, "a?b"),
    }

    async def body(pool: PythonPool) -> None:
        for name, (arguments, text) in said.items():
            assert await pool.run(tool(f"shop/orders/{name}"), arguments, timeout_s=20) == Reply(text=text)
        for name, text in (("wrong", "error: 'no order A9'"), ("leaves", "error: 3")):
            assert await pool.run(tool(f"shop/orders/{name}"), {}, timeout_s=20) == Reply(text=text, status=ERROR)
        for id in ("shop/orders/absent", "shop/orders/not_a_function", "shop/absent/f", "f", "shop/f"):
            assert (await pool.run(tool(id), {}, timeout_s=20)).status is UNKNOWN

    tools.run(body)


def test_arguments_are_what_the_hints_say(tools: Tools) -> None:
    tools.write(
        "hinted",
        """
        from __future__ import annotations
        from collections.abc import Sequence
        from dataclasses import dataclass, field
        from enum import Enum
        from typing import Annotated, Literal, Optional, TypedDict

        class Colour(Enum):
            RED = "red"
            ODD = (1, 2)
        @dataclass
        class Item:
            id: str
            colours: tuple[Colour, ...] = ()
            next: Item | None = None
        class Place(TypedDict):
            tags: set[int]

        def f(a: Colour, b: Item, c: Annotated[Optional[set[int]], "x"], d: tuple[int, Colour], e: dict[str, Item],
              g: Place, h: int | Colour, i: Sequence[Colour], j: float, k: Literal["x"], l: list,
              m: Colour = Colour.RED):
            return repr((a, b, c, d, e, g, h, i, j, k, l, m))
        """,
    )
    item, values = {"id": "A", "colours": ["red"], "next": {"id": "B"}}, {"b": {"id": "C"}}
    given = {"a": "ODD", "b": item, "c": [1, 1], "d": [1, "red"], "e": values, "g": {"tags": [2]}, "h": "red"}
    red, odd = "<Colour.RED: 'red'>", "<Colour.ODD: (1, 2)>"
    text = (
        f"({odd}, Item(id='A', colours=({red},), next=Item(id='B', colours=(), next=None)), {{1}}, (1, {red}), "
        f"{{'b': Item(id='C', colours=(), next=None)}}, {{'tags': {{2}}}}, {red}, [{red}], 3, 'x', [1], {red})"
    )
    assert tools.call("hinted/f", given | {"i": ["red"], "j": 3, "k": "x", "l": [1]}) == Reply(text=text)


def test_a_path_does_not_leave_the_folder(tools: Tools, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("def f(): return 'outside'\n")
    (tools.folder / "link.py").symlink_to(tmp_path / "outside.py")

    async def body(pool: PythonPool) -> None:
        for file in ("../outside", f"{tmp_path}/outside", "link", "a\0b", "x/../../outside"):
            assert (await pool.run(tool(f"{file}/f"), {}, timeout_s=20)).status is UNKNOWN

    tools.run(body)
    tools.run(body, sandbox="none")


def test_a_file_that_cannot_be_read_or_run_is_the_tools_error_and_a_changed_one_is_read_anew(tools: Tools) -> None:
    tools.write("broken", "def f(:\n")
    tools.write("raises", "1 / 0\ndef f(): return 1\n")

    async def body(pool: PythonPool) -> None:
        broken = await pool.run(tool("broken/f"), {}, timeout_s=20)
        assert broken.status is ERROR
        assert "broken.py cannot be read (SyntaxError" in broken.text
        assert await pool.run(tool("raises/f"), {}, timeout_s=20) == Reply(text="error: division by zero", status=ERROR)
        tools.write("raises", "def f(): return 'mended'\n")
        assert await pool.run(tool("raises/f"), {}, timeout_s=20) == Reply(text="mended")

    tools.run(body, workers=1)


def test_the_configuration_says_what_is_wrong(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="workers=0 is below 1"):
        PythonConfig(folder="x", workers=0)
    with pytest.raises(UserError, match="open_files=3 is below 16"):
        PythonConfig(folder="x", open_files=3)
    with pytest.raises(UserError, match="readable='/absent' does not exist"):
        PythonPool(PythonConfig(folder=str(tools.folder), readable=("/absent",)))
    with pytest.raises(UserError, match="is no folder"):
        PythonPool(PythonConfig(folder=str(tools.folder / "absent")))
    monkeypatch.setattr(system_calls, "missing", lambda: "Landlock in the kernel")
    with pytest.raises(UserError, match="sandbox=kernel needs Landlock.*sandbox=none runs tools unprotected"):
        PythonPool(PythonConfig(folder=str(tools.folder)))
    assert tools.call("sound/sound", sandbox="none") == Reply(text="[3]")


# Attacks on time, memory and the process itself.


def test_an_infinite_loop_ends_at_its_deadline(tools: Tools) -> None:
    source = """
        def attack():
            while True:
                try:
                    while True: pass
                except BaseException: pass
        """
    assert tools.attack(source, timeout_s=1).status is ToolStatus.TIMEOUT


def test_cpu_time_is_limited_however_long_the_deadline(tools: Tools) -> None:
    reply = tools.attack("def attack():\n    while True: pass\n", cpu_s=1)
    assert reply == Reply(
        text="error: the tool's process ended at its limit of CPU time before it gave a result", status=ERROR
    )
    ignored = "import signal\ndef attack():\n    signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n    while True: pass\n"
    assert "ended by signal 9" in tools.attack(ignored, cpu_s=1).text


def test_a_tool_cannot_fork(tools: Tools) -> None:
    bomb = "import os\ndef attack():\n    while True:\n        os.fork()\n"
    assert tools.attack(bomb) == Reply(text="error: [Errno 1] Operation not permitted", status=ERROR)
    at_import = "import os\nwhile True:\n    os.fork()\ndef attack(): pass\n"
    assert tools.attack(at_import) == Reply(text="error: [Errno 1] Operation not permitted", status=ERROR)
    processes = """
        import multiprocessing, subprocess
        def attack():
            failed = []
            for start in (lambda: subprocess.run(["/bin/sh", "-c", "exit"]), multiprocessing.Process().start):
                try: start()
                except OSError as error: failed.append(error.errno)
            return failed
        """
    assert tools.attack(processes) == Reply(text="[1, 1]")


def test_threads_are_limited_by_memory(tools: Tools) -> None:
    bomb = """
        import threading
        def attack():
            started, stop = 0, threading.Event()
            try:
                for started in range(100_000): threading.Thread(target=stop.wait, daemon=True).start()
            except (RuntimeError, MemoryError): pass
            return started < 500
        """
    assert tools.attack(bomb) == Reply(text="true")


def test_memory_is_limited(tools: Tools) -> None:
    assert tools.attack("def attack(): return len(bytearray(8 << 30))\n") == Reply(
        text="error: MemoryError", status=ERROR
    )
    slowly = "def attack():\n    kept = []\n    while True: kept.append(bytearray(1 << 20))\n"
    assert tools.attack(slowly) == Reply(text="error: MemoryError", status=ERROR)
    assert tools.attack("def attack(): return len(bytearray(100 << 20))\n") == Reply(text="104857600")


def test_a_process_that_ends_is_the_tools_error(tools: Tools) -> None:
    reply = tools.attack("import os\ndef attack(): os._exit(3)\n")
    assert reply == Reply(text="error: the tool's process ended with exit code 3 before it gave a result", status=ERROR)
    crash = tools.attack("import ctypes\ndef attack(): ctypes.string_at(0)\n")
    assert "ended by signal 11 (Segmentation fault)" in crash.text
    assert crash.status is ERROR


def test_recursion_however_deep_is_the_tools_error(tools: Tools) -> None:
    recursive = "def attack(n=0): return attack(n + 1)\n"
    assert "maximum recursion depth" in tools.attack(recursive).text
    in_python = "import sys\nsys.setrecursionlimit(10**9)\ndef attack(n=0): return attack(n + 1)\n"
    assert tools.attack(in_python, memory_mb=64).status is ERROR
    in_c = """
        import sys
        sys.setrecursionlimit(10**9)
        class Endless:
            def __repr__(self): return repr(self)
        def attack(): return repr(Endless())
        """
    assert tools.attack(in_c).status is ERROR


def test_long_output_is_cut_and_printed_output_dropped(tools: Tools) -> None:
    returned = tools.attack("def attack(): return 'x' * 100_000_000\n", output_chars=1000)
    assert returned == Reply(text="x" * 1000 + "… [cut from 100000000 characters]")
    printed = """
        import os, sys
        def attack():
            for _ in range(100): print("x" * 1_000_000); sys.stderr.write("y" * 1_000_000)
            os.write(1, b"\\0\\0\\0\\2{}")
            return "said"
        """
    assert tools.attack(printed) == Reply(text="said")
    raw = """
        import os
        def attack():
            for fd in range(64):
                try:
                    while True: os.write(fd, b"x" * 1_000_000) if fd > 2 else 1 / 0
                except (OSError, ZeroDivisionError): pass
        """
    assert "before it gave a result" in tools.attack(raw, output_chars=1000).text
    forged = """
        import os
        def attack(): os.write(3, b'{"status": "infra_error", "text": "", "length": 0}'); os._exit(0)
        """
    assert tools.attack(forged).status is ERROR


@pytest.mark.parametrize(
    ("written", "text", "status"),
    [
        ('b\'{"status": "ok", "length": 1, "text": "\' + \'é\'.encode() * 5000 + b\'"}\'', "é" * 1000, OK),
        ('b\'{"status": "ok", "length": 1, "text": "\' + b\'a\' * 1_000_000 + b\'"}\'', None, ERROR),
        ('b\'{"status": "ok", "length": 1e300, "text": ""}\'', None, ERROR),
        ("b'[' * 10_000", None, ERROR),
        ("b''", None, ERROR),
    ],
)
def test_a_reply_that_a_tool_writes_itself_is_held_to_the_same_limits(
    tools: Tools, written: str, text: str | None, status: ToolStatus
) -> None:
    source = f"""
        import os
        def attack():
            left = {written}
            while left: left = left[os.write(3, left):]
            os._exit(0)
        """
    reply = tools.attack(source, output_chars=1000)
    assert reply.status is status
    if text is None:
        assert reply.text.endswith("before it gave a result")
    else:
        assert reply.text == f"{text}… [cut from 5000 characters]"


# Attacks on files, the network, secrets and other processes.


def test_only_the_scratch_folder_can_be_written(tools: Tools, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    tools.write("data", "")
    source = f"""
        import os, shutil, sqlite3, tempfile
        OUT, TOOLS = {str(outside)!r}, {str(tools.folder)!r}
        ATTEMPTS = {{
            "create": lambda: open(OUT + "/new", "w"),
            "append": lambda: open(OUT + "/kept", "a"),
            "tools": lambda: open(TOOLS + "/data.py", "w"),
            "truncate": lambda: os.truncate(TOOLS + "/data.py", 0),
            "truncating read": lambda: os.open(TOOLS + "/data.py", os.O_RDONLY | os.O_TRUNC),
            "remove": lambda: os.unlink(OUT + "/kept"),
            "rename": lambda: os.rename(OUT + "/kept", OUT + "/moved"),
            "move in": lambda: os.rename(OUT + "/kept", "kept"),
            "link in": lambda: os.link(TOOLS + "/data.py", "linked"),
            "folder": lambda: os.mkdir(OUT + "/folder"),
            "link": lambda: os.symlink("kept", OUT + "/link"),
            "mode": lambda: os.chmod(OUT + "/kept", 0o777),
            "open mode": lambda: os.fchmod(os.open(TOOLS + "/data.py", os.O_RDONLY), 0o777),
            "owner": lambda: os.chown(OUT + "/kept", 1, 1),
            "times": lambda: os.utime(OUT + "/kept"),
            "through a link": lambda: (os.symlink(OUT, "out"), open("out/new", "w")),
            "tmp": lambda: open("/tmp/toolscout_escape", "w"),
            "shm": lambda: open("/dev/shm/toolscout_escape", "w"),
        }}
        def attack():
            done = []
            for name, attempt in ATTEMPTS.items():
                try: attempt(); done.append(name)
                except OSError: pass
            open("mine", "w").write("x"); os.mkdir("d"); os.rename("mine", "d/mine")
            with sqlite3.connect("own.db") as db: db.execute("create table t (a)")
            tempfile.NamedTemporaryFile().write(b"x")
            return [done, sorted(os.listdir()), os.path.realpath(os.environ["HOME"]) == os.getcwd()]
        """
    assert tools.attack(source) == Reply(text='[[], ["d", "out", "own.db"], true]')
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").stat().st_mode & 0o777 == 0o644
    assert (tools.folder / "data.py").read_text() == ""


def test_file_sizes_and_open_files_are_limited(tools: Tools) -> None:
    large = "def attack():\n    with open('f', 'wb', buffering=0) as f:\n        while True: f.write(bytes(1 << 20))\n"
    assert "File too large" in tools.attack(large, file_mb=2).text
    many = "def attack():\n    kept = [open('/dev/null') for _ in range(100)]\n"
    assert "Too many open files" in tools.attack(many, open_files=32).text


def test_no_socket_reaches_anything(tools: Tools, tmp_path: Path) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        unix.bind(str(tmp_path / "d.sock"))
        tcp.setblocking(False)
        unix.setblocking(False)
        source = f"""
            import asyncio, socket
            PORT, UNIX = {tcp.getsockname()[1]}, {str(tmp_path / "d.sock")!r}
            ATTEMPTS = [
                lambda: socket.create_connection(("127.0.0.1", PORT)),
                lambda: socket.socket(socket.AF_UNIX),
                lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", PORT)),
                lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
                lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b"x", UNIX),
                lambda: socket.socketpair()[0].connect(UNIX),
                lambda: socket.socketpair()[0].sendto(b"x", UNIX),
                lambda: asyncio.run(asyncio.open_connection("127.0.0.1", PORT)),
            ]
            def attack():
                done = 0
                for attempt in ATTEMPTS:
                    try: attempt(); done += 1
                    except OSError: pass
                return done
            """
        assert tools.attack(source) == Reply(text="0")
        with pytest.raises(BlockingIOError):
            tcp.accept()
        with pytest.raises(BlockingIOError):
            unix.recv(1)


def test_no_secret_can_be_read(tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLSCOUT_SECRET", "hunter2")
    (tmp_path / "secret").write_text("hunter2")
    (tools.folder / "to_secret").symlink_to(tmp_path / "secret")
    paths = [
        tmp_path / "secret",
        tools.folder / "to_secret",
        f"/proc/{os.getpid()}/environ",
        "/etc/passwd",
        "/root/.bashrc",
    ]
    paths += [
        f"/proc/{os.getpid()}/cmdline",
        "/proc/self/environ",
        Path.home() / ".ssh",
        Path(__file__),
        Path.cwd(),
        "/tmp",
    ]
    source = f"""
        import os
        PATHS = {list(map(str, paths))} + [f"/proc/{{os.getppid()}}/mem", f"/proc/{{os.getppid()}}/fd/0", "/proc", "/"]
        def attack():
            read = []
            for path in PATHS:
                for reads in (os.listdir, lambda path: open(path, "rb").read(10)):
                    try: reads(path); read.append(path)
                    except OSError: pass
            return [read, sorted(os.environ)]
        """
    read, names = json.loads(tools.attack(source).text)
    assert read == []
    threads = {"MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
    ours = threads | {"HOME", "LANG", "PATH", "PYTHONHASHSEED", "PYTHONUSERBASE", "TMPDIR"}
    assert set(names) <= ours | {"LD_LIBRARY_PATH", "TZ"}


def test_what_the_user_names_can_be_read(tools: Tools, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("rows")
    tools.write("reads", f"def f(): return open({str(tmp_path / 'data.txt')!r}).read()\n")
    assert tools.call("reads/f").status is ERROR
    assert tools.call("reads/f", readable=(str(tmp_path / "data.txt"),)) == Reply(text="rows")


def test_no_other_process_can_be_touched(tools: Tools) -> None:
    victim = subprocess.Popen(["sleep", "60"])
    try:
        source = f"""
            import ctypes, fcntl, os, resource, signal
            def attack():
                done = []
                libc = ctypes.CDLL(None, use_errno=True)
                read, _ = os.pipe()
                for pid in ({os.getpid()}, {victim.pid}, os.getppid(), 1):
                    attempts = {{
                        "kill": lambda: os.kill(pid, signal.SIGKILL),
                        "group": lambda: os.killpg(os.getpgid(pid), signal.SIGKILL),
                        "owner": lambda: fcntl.fcntl(read, fcntl.F_SETOWN, pid),
                        "limits": lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)),
                        "priority": lambda: os.setpriority(os.PRIO_PROCESS, pid, 19),
                        "affinity": lambda: os.sched_setaffinity(pid, {{0}}),
                        "pidfd": lambda: os.pidfd_open(pid),
                    }}
                    for name, attempt in attempts.items():
                        try: attempt(); done.append(name)
                        except OSError: pass
                    # ptrace, kill, tkill, process_vm_readv, sigqueue
                    for number in (101, 62, 200, 310, 129) if os.uname().machine == "x86_64" else ():
                        if libc.syscall(number, 16 if number == 101 else pid, pid if number == 101 else 9, 0, 0) == 0:
                            done.append(number)
                return done
            """
        assert tools.attack(source) == Reply(text="[]")
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs a kernel sandbox: the numbers are of x86_64")
def test_system_calls_that_python_has_no_name_for_fail(tools: Tools) -> None:
    numbers = {
        "fork": 57, "vfork": 58, "execve": 59, "clone3": 435, "unshare": 272, "setns": 308, "mount": 165, "chroot": 161,
        "bpf": 321, "keyctl": 250, "add_key": 248, "io_uring_setup": 425, "userfaultfd": 323, "perf_event_open": 298,
        "memfd_create": 319, "shmget": 29, "open_by_handle_at": 304, "openat2": 437, "pidfd_getfd": 438, "socket": 41,
        "setsid": 112, "inotify_init": 253, "setuid": 105, "seccomp": 317, "landlock": 444, "init_module": 175,
    }  # fmt: skip
    source = f"""
        import ctypes
        def attack():
            libc = ctypes.CDLL(None, use_errno=True)
            done = []
            for name, number in {numbers!r}.items():
                if libc.syscall(number, 0, 0, 0, 0, 0) >= 0 or ctypes.get_errno() not in (1, 38): done.append(name)
            if libc.prctl(1, 0, 0, 0, 0) == 0: done.append("PR_SET_PDEATHSIG")
            if libc.prctl(4, 1, 0, 0, 0) == 0: done.append("PR_SET_DUMPABLE")
            return done
        """
    assert tools.attack(source) == Reply(text="[]")


def test_a_process_of_another_machine_word_is_ended(tools: Tools) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("needs a kernel sandbox: the instruction is x86_64's")
    source = """
        import ctypes, mmap
        def attack():  # the 32-bit door: fork has another number there
            code = mmap.mmap(-1, 4096, prot=7)
            code.write(b"\\xb8\\x02\\0\\0\\0\\xcd\\x80\\xc3")  # mov eax, 2; int 0x80; ret
            return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        """
    assert "before it gave a result" in tools.attack(source).text


# A call affects no other.


def test_what_a_call_did_to_its_process_ends_with_it(tools: Tools) -> None:
    source = """
        import builtins, json, os, sys, threading, time
        count = 0
        def attack():
            global count
            count += 1
            def work():
                while True: open("written", "a").write("x"); time.sleep(0.001)
            for _ in range(5): threading.Thread(target=work).start()
            json.dumps = builtins.sorted = lambda *_: "poisoned"
            sys.modules["json"] = None
            os.environ["LEFT"] = "x"
            os.makedirs("deep/" * 50)
            open("left", "w").write("x")
            os.umask(0o777)
            os.mkdir("shut")
            return count
        def seen(): return [count, sorted(os.listdir()), "LEFT" in os.environ, threading.active_count(), len("abc")]
        """
    tools.write("poison", source)

    async def body(pool: PythonPool) -> None:
        for _ in range(3):
            assert await pool.run(tool("poison/attack"), {}, timeout_s=20) == Reply(text="1")
            assert await pool.run(tool("poison/seen"), {}, timeout_s=20) == Reply(text="[0, [], false, 1, 3]")

    tools.run(body, workers=1)


def test_a_scratch_folder_that_cannot_be_emptied_is_left_with_its_worker(tools: Tools) -> None:
    deep = "import os\ndef attack():\n    for _ in range(1100): os.mkdir('d'); os.chdir('d')\n    return 'deep'\n"
    assert tools.attack(deep) == Reply(text="deep")


def test_a_call_that_leaves_many_files_costs_the_next_no_time(tools: Tools) -> None:
    tools.write(
        "poison",
        """
        import os, time
        def f():
            ends = time.monotonic() + 2.5  # and they take as long to remove
            for _ in range(800): os.mkdir("d"); os.chdir("d")
            made = 0
            while time.monotonic() < ends: os.symlink("x", f"f{made}"); made += 1
        """,
    )

    async def body(pool: PythonPool) -> float:
        await pool.run(tool("poison/f"), {}, timeout_s=20)
        started = time.monotonic()
        assert (await pool.run(tool("sound/sound"), {}, timeout_s=20)).text == "[3]"
        return time.monotonic() - started

    assert tools.run(body, workers=1) < 1.5  # 0.2 s until the worker gives up, and the time to start another


def test_no_call_finds_anothers_arguments_or_reply_in_its_memory(tools: Tools) -> None:
    # in halves, or the scan finds what it looks for in its own constants
    source = """
        import os
        HALVES = {"argument": (b"for-this-", b"call-qzjxk"), "reply": (b"kxjzq-", b"llac-siht")}
        def says(text): return text[::-1]
        def scan():  # every page that is mapped near an object
            import ctypes, gc
            libc = ctypes.CDLL(None, use_errno=True)
            read, write = os.pipe()
            known = [*gc.get_objects(), *(key for known in gc.get_objects() if type(known) is dict for key in known)]
            near = {(id(one) >> 20) + step for one in known for step in (-1, 0, 1)}
            scanned, found = 0, set()
            for page in (page for megabyte in near for page in range(megabyte << 20, megabyte + 1 << 20, 4096)):
                if libc.write(write, ctypes.c_void_p(page), ctypes.c_size_t(4096)) > 0:
                    data, scanned = os.read(read, 4096), scanned + 1
                    for word, (start, end) in HALVES.items():
                        if any(part.startswith(end) for part in data.split(start)[1:]): found.add(word)
            return [scanned > 500, sorted(found)]
        """
    secret = "qzjxk-for-this-call-" * 20
    tools.write("memory", source)

    async def body(pool: PythonPool) -> None:
        said = await pool.run(tool("memory/says"), {"text": secret}, timeout_s=20)
        assert said == Reply(text=secret[::-1])
        assert await pool.run(tool("memory/scan"), {}, timeout_s=20) == Reply(text="[true, []]")

    tools.run(body, workers=1)


def _libraries(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have workers find what is in the folder as if it were installed."""
    monkeypatch.setattr(python_process, "CODE", f"{python_process.CODE}{os.pathsep}{folder}")


def test_a_library_that_takes_long_to_import_is_imported_though_calls_are_given_up(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "takes_long.py").write_text("import time\ntime.sleep(1.2)\n")
    _libraries(tmp_path / "libraries", monkeypatch)
    tools.write("heavy", "import takes_long\ndef f(): return 'imported'\n")

    async def body(pool: PythonPool) -> None:
        replies = []
        for _ in range(6):
            try:
                async with asyncio.timeout(0.5):
                    replies.append((await pool.run(tool("heavy/f"), {}, timeout_s=0.5)).text)
            except TimeoutError:
                replies.append("given up")
        assert replies[0] == "given up"
        assert replies[-2:] == ["imported"] * 2

    tools.run(body, workers=1, readable=(str(tmp_path / "libraries"),))


def test_a_folder_of_tools_that_is_installed_is_not_run_by_the_worker(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _libraries(tmp_path, monkeypatch)  # as `pip install -e` and a .pth file do
    (tmp_path / "outside.py").write_text("from tools.helper import CALLS\n")
    tools.write("__init__", "")
    tools.write("helper", "import os\nCALLS, PID = [], os.getpid()\n")
    tools.write(
        "installed",
        """
        import os, outside, tools.helper
        def f():
            tools.helper.CALLS.append(1)
            return [len(tools.helper.CALLS), tools.helper.PID == os.getpid()]
        """,
    )

    async def body(pool: PythonPool) -> None:
        for _ in range(2):
            assert await pool.run(tool("installed/f"), {}, timeout_s=20) == Reply(text="[1, true]")

    tools.run(body, workers=1, readable=(str(tmp_path / "outside.py"), str(tmp_path)))


def test_workers_run_in_parallel(tools: Tools) -> None:
    tools.write("slow", "import time\ndef f(): time.sleep(0.5); return 'slept'\n")

    async def body(pool: PythonPool) -> float:
        calls = [pool.run(tool("slow/f"), {}, timeout_s=20) for _ in range(4)]
        await asyncio.gather(*(pool.run(tool("slow/f"), {}, timeout_s=20) for _ in range(4)))  # all workers are there
        started = time.monotonic()
        assert await asyncio.gather(*calls) == [Reply(text="slept")] * 4
        return time.monotonic() - started

    assert 0.5 <= tools.run(body, workers=4) < 1.2


def test_waiting_for_a_worker_is_not_a_calls_time(tools: Tools) -> None:
    tools.write("slow", "import time\ndef f(): time.sleep(0.5); return 'slept'\n")

    async def body(pool: PythonPool) -> None:
        calls = [pool.run(tool("slow/f"), {}, timeout_s=2) for _ in range(6)]  # the last waits 2.5 s
        assert await asyncio.gather(*calls) == [Reply(text="slept")] * 6

    tools.run(body, workers=1)


def test_a_cancelled_call_ends_and_its_worker_is_replaced(tools: Tools, tmp_path: Path) -> None:
    tools.write("slow", "import time\ndef f():\n    while True: time.sleep(0.01)\n")

    async def body(pool: PythonPool) -> None:
        assert (await pool.run(tool("sound/sound"), {}, timeout_s=20)).text == "[3]"
        call = asyncio.create_task(pool.run(tool("slow/f"), {}, timeout_s=60))
        await asyncio.sleep(0.3)
        (worker,) = pool._busy
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not await asyncio.to_thread(_group_lives, worker._process.pid)
        assert (await pool.run(tool("sound/sound"), {}, timeout_s=20)).text == "[3]"

    tools.run(body, workers=1)


def test_a_worker_that_others_end_costs_no_call(tools: Tools) -> None:
    async def body(pool: PythonPool) -> None:
        for _ in range(3):
            assert (await pool.run(tool("sound/sound"), {}, timeout_s=20)).text == "[3]"
            (worker,) = pool._idle
            os.kill(worker._process.pid, signal.SIGKILL)
            await asyncio.sleep(0.1)

    tools.run(body, workers=1)


def test_a_worker_that_ends_in_a_call_or_cannot_fork_is_our_fault(tools: Tools) -> None:
    tools.write("slow", "import time\ndef f(): time.sleep(60)\n")

    async def body(pool: PythonPool) -> None:
        assert (await pool.run(tool("sound/sound"), {}, timeout_s=20)).text == "[3]"
        call = asyncio.create_task(pool.run(tool("slow/f"), {}, timeout_s=60))
        await asyncio.sleep(0.3)
        (worker,) = pool._busy
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(InfraError, match="ended during the call"):
            await call
        assert (await pool.run(tool("sound/sound"), {}, timeout_s=20)).text == "[3]"
        (worker,) = pool._idle
        await worker.ready("sound")
        resource.prlimit(worker._process.pid, resource.RLIMIT_NOFILE, (3, 3))
        with pytest.raises(InfraError, match=r"no process for the call: .*Too many open files"):
            await pool.run(tool("sound/sound"), {}, timeout_s=20)
        assert (await pool.run(tool("sound/sound"), {}, timeout_s=20)).text == "[3]"

    tools.run(body, workers=1)


def test_a_pool_serves_one_event_loop_after_another(tools: Tools) -> None:
    pool = PythonPool(PythonConfig(folder=str(tools.folder), workers=1))

    async def body() -> list[Reply]:
        return await asyncio.gather(*(pool.run(tool("sound/sound"), {}, timeout_s=20) for _ in range(3)))

    for _ in range(3):
        assert asyncio.run(body()) == [Reply(text="[3]")] * 3
    (worker,) = pool._idle
    asyncio.run(pool.close())
    assert not _group_lives(worker._process.pid)


def test_closing_ends_the_calls_that_run(tools: Tools) -> None:
    tools.write("slow", "import time\ndef f(): time.sleep(60)\n")

    async def body(pool: PythonPool) -> None:
        calls = [asyncio.create_task(pool.run(tool("slow/f"), {}, timeout_s=60)) for _ in range(3)]
        await asyncio.sleep(0.5)
        await pool.close()
        for call in calls:
            with pytest.raises(InfraError, match="closed"):
                await call
        with pytest.raises(InfraError, match="closed"):
            await pool.run(tool("sound/sound"), {}, timeout_s=1)

    tools.run(body, workers=2)


PARENT = """
import asyncio, sys
from envs.executors.python_config import PythonConfig
from envs.executors.python_pool import PythonPool
from retriever.tools import ToolDoc

async def main():
    pool = PythonPool(PythonConfig(folder=sys.argv[1], workers=2))
    tools = {name: ToolDoc(id=f"endless/{name}", name=name, description="", parameters={}) for name in ("f", "pids")}
    await asyncio.gather(*(pool.run(tools["pids"], {}, timeout_s=20) for _ in range(2)))
    call = asyncio.create_task(pool.run(tools["f"], {}, timeout_s=60))
    await asyncio.sleep(0.5)
    print(*(worker._process.pid for worker in (*pool._idle, *pool._busy)), flush=True)
    await call

asyncio.run(main())
"""


def test_workers_and_calls_end_with_a_parent_that_is_killed(tools: Tools, tmp_path: Path) -> None:
    tools.write(
        "endless",
        """
        import time
        def pids(): time.sleep(0.2)
        def f():
            open("left", "w").write("x")
            while True: time.sleep(0.01)
        """,
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-c", PARENT, str(tools.folder)]
    root, environment = Path(__file__).parents[1], {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=environment) as parent:
        assert parent.stdout is not None
        groups = [int(word) for word in parent.stdout.readline().split()]
        assert len(groups) == 2
        assert [path.name for path in temporary.rglob("*") if path.is_file()] == ["left"]
        parent.kill()
    assert [group for group in groups if _group_lives(group)] == []
    assert [path.name for path in temporary.rglob("*") if path.is_file()] == []


UNCLOSED = """
import asyncio, os, sys
from envs.executors.python_config import PythonConfig
from envs.executors.python_pool import PythonPool
from retriever.tools import ToolDoc

pool = PythonPool(PythonConfig(folder=sys.argv[1], workers=1))
tool = ToolDoc(id="sound/sound", name="sound", description="", parameters={})
for _ in range(2):
    print(asyncio.run(pool.run(tool, {}, timeout_s=20)).text, pool._idle[0]._process.pid, flush=True)
    if (fork := os.fork()) == 0:
        sys.exit()  # takes nothing from the pool's process
    os.waitpid(fork, 0)
if sys.argv[2] == "forgotten":
    del pool
    print(os.listdir(os.environ["TMPDIR"]))
else:
    raise KeyError
"""


@pytest.mark.parametrize("how", ["forgotten", "exception"])
def test_a_pool_that_nobody_closes_leaves_nothing(tools: Tools, tmp_path: Path, how: str) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-c", UNCLOSED, str(tools.folder), how]
    root, environment = Path(__file__).parents[1], {**os.environ, "TMPDIR": str(temporary)}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, check=False)
    first, second, *rest = ended.stdout.splitlines()
    assert first == second  # the same worker
    assert rest == (["[]"] if how == "forgotten" else [])
    assert ended.stderr.strip().endswith("KeyError" if how == "exception" else "")
    assert ended.stderr.count("Traceback") == len(rest) ^ 1
    assert list(temporary.iterdir()) == []
    assert not _group_lives(int(first.split()[1]))


OWNER = """
import asyncio, sys
from envs.executors.python_config import PythonConfig
from envs.executors.python_pool import PythonPool
from retriever.tools import ToolDoc

def tool(name):
    return ToolDoc(id=f"owned/{name}", name=name, description="", parameters={"type": "object"})

async def main():
    pool = PythonPool(PythonConfig(folder=sys.argv[1], workers=2))
    await pool.run(tool("quick"), {}, timeout_s=60)
    print(pool._scratch.path, flush=True)
    await pool.run(tool("slow"), {}, timeout_s=600)

asyncio.run(main())
"""


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_folders_of_an_owner_that_is_ended_go_with_it(tools: Tools, end: signal.Signals) -> None:
    tools.write(
        "owned",
        """
        import time

        def quick():
            return 1

        def slow():
            open("mine.txt", "w").write("x")
            time.sleep(600)
        """,
    )
    command = [sys.executable, "-c", OWNER, str(tools.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        scratch = Path(owner.stdout.readline().strip())
        assert scratch.name.startswith("toolscout-python-")
        _wait_for(lambda: bool(list(scratch.glob("*/mine.txt"))))
        owner.send_signal(end)
    _wait_for(lambda: not scratch.exists())


def _wait_for(holds: Callable[[], bool]) -> None:
    for _ in range(1200):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about within 60 s")
