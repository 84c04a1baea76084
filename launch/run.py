"""The command line: `toolscout COMMAND …`, the same as `python -m launch.run COMMAND …`.

A command is one word or two (`retriever eval` lives in launch/commands/retriever_eval.py). Its module is imported when
it is asked for, so that `--help` and a mistyped word answer at once.
"""

import argparse
import difflib
import errno
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from retriever.base.errors import ToolscoutError, UserError

COMMANDS = {
    "quickstart": "the whole loop on a laptop: world, expert, SFT, GRPO, evaluation, export, report",
    "study": "the quickstart over several seeds, with controls of RL's extra time; long, resumable",
    "nano": "make the nano base, the small model that the quickstart starts from",
    "sft": "the cold start alone: imitate the scripted expert",
    "grpo": "reinforcement learning alone, from model.path",
    "eval": "evaluate model.path on the splits of a config",
    "catalogue import": "tools of MCP, OpenAI, OpenAPI and Python files, as one tools.jsonl",
    "catalogue check": "whether a tools.jsonl is sound, and which of its tools are hard to tell apart",
    "tasks make": "tasks from your own tools, each gold call executed",
    "tasks fetch": "a public data set as tools.jsonl and tasks.jsonl, for --data",
    "records import": "StableToolBench's cache of tool responses as a record to replay",
    "rollouts show": "recorded episodes of a run, listed or turn by turn",
    "rollouts replay": "recorded tokens through the real tools again, and through a model: what is no longer the same",
    "rollouts rescore": "rewards and advantages of recorded rollouts under other weights; needs no model",
    "rollouts collect": "rollouts alone: what GRPO would begin with, played and recorded, nothing trained",
    "rollouts train": "GRPO alone, on recorded rollouts in place of played ones",
    "retriever eval": "how well searching with the task's own words finds its tools, by group, with intervals",
    "retriever train": "fine-tune the encoder on queries with gold tools, or on a run's own searches",
    "retriever serve": "search over a catalogue by HTTP, for many workers",
    "report": "write the HTML report of a run",
    "export": "write a run's policy as a plain Hugging Face folder with a model card",
    "push": "upload an exported policy to the Hugging Face Hub",
}


_USERS_TO_MEND = frozenset(
    getattr(errno, name)
    for name in ("EACCES", "EDQUOT", "EFBIG", "EISDIR", "ENAMETOOLONG", "ENOSPC", "ENOTDIR", "EPERM", "EROFS")
)


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are UserErrors: one line, like every other mistake."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print under the usage."""
        raise UserError(f"{message}; see {self.prog} --help")


def run_process() -> NoReturn:
    """`main` as a process of its own: the console script's, and each rank's that torchrun or deepspeed starts."""
    code = main()
    if "WORLD_SIZE" in os.environ:
        from train.distributed import exit_rank

        exit_rank(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 1 it stopped, 2 the user must change something, 130 Ctrl-C."""
    # What one library says of another's future is for their authors: no line between ours.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft|trl|accelerate)(\.|$)")
    try:
        return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        return _report(error, 2)
    except ToolscoutError as error:
        return _report(error, 1)
    except OSError as error:
        if error.errno not in _USERS_TO_MEND:
            raise
        what = (
            f"{error.filename or 'a file'}: {error.strerror}; check the path, its permissions and the free disk space"
        )
        return _report(UserError(what), 2)
    except KeyboardInterrupt:
        return 130


def _dispatch(argv: list[str]) -> int:
    if argv == ["help"]:
        argv = ["--help"]
    if not argv or argv[0].startswith("-"):
        parser = _overview()
        parser.parse_args(argv or ["--help"])
        parser.error("expected a command first")
    name, rest = _command(argv)
    command = import_module(f"launch.commands.{name.replace(' ', '_')}")
    parser = Parser(prog=f"toolscout {name}", description=command.__doc__, formatter_class=_FORMAT, allow_abbrev=False)
    command.add_arguments(parser)
    # intermixed: `quickstart --dry-run seed=1` and `quickstart seed=1 --dry-run` are the same
    code = command.run(parser.parse_intermixed_args(rest))
    assert isinstance(code, int)
    return code


def _command(argv: list[str]) -> tuple[str, list[str]]:
    """The command that `argv` begins with, and its arguments. Raises UserError, or prints the help of a group."""
    word, *rest = argv
    if word in COMMANDS:
        return word, rest
    group = {name: summary for name, summary in COMMANDS.items() if name.startswith(f"{word} ")}
    if not group:
        raise UserError(f"no command {word!r}; {_near(word, [*COMMANDS, *(name.split()[0] for name in COMMANDS)])}")
    if not rest or rest[0].startswith("-"):
        parser = _overview(word, group)
        parser.parse_args(rest or ["--help"])
    if (name := " ".join(argv[:2])) in group:
        return name, argv[2:]
    raise UserError(f"no command {name!r}; {_near(name, list(group))}")


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(dict.fromkeys(known))}"


_FORMAT = argparse.RawDescriptionHelpFormatter


def _overview(group: str = "", commands: Mapping[str, str] = COMMANDS) -> Parser:
    prog = f"toolscout {group}".strip()
    width = max(map(len, commands))
    listed = "\n".join(f"  {name:{width}}  {summary}" for name, summary in commands.items())
    parser = Parser(
        prog=prog,
        usage=f"{prog} COMMAND ..." if group else f"{prog} COMMAND [CONFIG] [key=value ...] [--dry-run] [--resume]",
        description=f"Train a language model to find the right tool and to use it well.\n\ncommands:\n{listed}",
        epilog=f"{'' if group else 'CONFIG is a preset or a YAML file. '}`{prog} COMMAND --help` tells the rest.",
        formatter_class=_FORMAT,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"toolscout {toolscout_version()}")
    return parser


def toolscout_version() -> str:
    """The installed version; "unknown" when run from a folder that was never installed."""
    try:
        return version("toolscout")
    except PackageNotFoundError:
        return "unknown"


def _report(error: ToolscoutError, code: int) -> int:
    print(f"toolscout: error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    run_process()
