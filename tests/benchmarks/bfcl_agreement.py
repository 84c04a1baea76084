"""Our AST rules beside bfcl-eval's own checker: on every gold answer with every value listed, and on wrong ones of it.

Every disagreement is printed, grouped by what the two say. One kind is expected: the package gives each gold call in
turn the first call that fits, and so refuses some right sets of parallel calls; ours are matched optimally.

  pip download --no-deps bfcl-eval==2026.3.23
  python -m tests.benchmarks.bfcl_agreement --wheel bfcl_eval-2026.3.23-py3-none-any.whl
"""

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.datasets.bfcl import WITH_GOLD_CALLS, Bfcl, BfclRecord, read_bfcl
from envs.datasets.bfcl_files import BfclFiles
from envs.types import ToolCall
from rewards.ast_rules import AstVerdict, ast_verdict
from tests.benchmarks.timing import print_figures

Call = tuple[str, dict[str, Any]]  # a function's published name, its arguments
SHOWN = 12  # disagreements of a kind
GREEDY = "parallel_function_checker_no_order:cannot_find_match"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One set of calls for one record."""

    record: BfclRecord
    change: str  # "gold", "another value", or what was made wrong
    calls: tuple[Call, ...]
    functions: list[dict[str, Any]]
    answer: list[dict[str, Any]]

    def job(self) -> dict[str, Any]:
        """What the package's checker is asked."""
        output = [{name: arguments} for name, arguments in self.calls]
        category = self.record.category
        return {"category": category, "functions": self.functions, "output": output, "answer": self.answer}

    def ours(self, bfcl: Bfcl) -> AstVerdict:
        """Our verdict, on tool ids."""
        names = dict.fromkeys(function["name"] for function in self.functions)
        ids = dict(zip(names, self.record.offered, strict=True))
        made = [ToolCall(name=ids.get(name, name), arguments=arguments) for name, arguments in self.calls]
        allowed = self.record.task.allowed_calls
        assert allowed is not None
        return ast_verdict(made, allowed, lambda tool_id: bfcl.functions[tool_id].parameters)


def cases(files: BfclFiles, bfcl: Bfcl, *, seed: int, wrong: int) -> Iterator[Case]:
    """Per record: the gold calls, each with every further value listed, and `wrong` changes of each kind."""
    for category in WITH_GOLD_CALLS:
        answers = files.answers(category)
        raw = {entry["id"]: entry for _, entry in files.records(category)}
        for record in bfcl.records[category]:
            random_ = random.Random(f"{seed}/{record.task.id}")
            functions, answer = raw[record.task.id]["function"], answers[record.task.id]
            gold = [_gold_call(call, functions) for call in answer]

            def case(change: str, calls: Sequence[Call], record: BfclRecord = record, **parts: Any) -> Case:
                return Case(record=record, change=change, calls=tuple(calls), **parts)

            parts = {"functions": functions, "answer": answer}
            yield case("gold", gold, **parts)
            for place, name, value in _other_values(answer):
                calls = deepcopy(gold)
                calls[place][1][name] = _made(value)
                yield case("another value", calls, **parts)
            for change, make in CHANGES.items():
                for _ in range(wrong):
                    changed = make(deepcopy(gold), functions, random_)
                    if changed is not None:
                        yield case(change, changed, **parts)


def _gold_call(call: dict[str, Any], functions: Sequence[dict[str, Any]]) -> Call:
    """The first value listed of each argument, of whatever type; left out where that is "" and may be left out."""
    ((name, arguments),) = call.items()
    required = next(function for function in functions if function["name"] == name)["parameters"]["required"]
    made = {}
    for key, values in arguments.items():
        stated = [value for value in values if value != ""] or values if key in required else values
        if stated and (stated[0] != "" or key in required):
            made[key] = _made(stated[0])
    return name, made


def _other_values(answer: Sequence[dict[str, Any]]) -> Iterator[tuple[int, str, Any]]:
    for place, call in enumerate(answer):
        ((_, arguments),) = call.items()
        yield from ((place, key, value) for key, values in arguments.items() for value in values[1:])


def _made(value: Any) -> Any:
    """A value as a call holds it: an object lists the right values of each key."""
    if isinstance(value, list):
        return [_made(item) if isinstance(item, dict) else item for item in value]
    if not isinstance(value, dict):
        return value
    return {key: values[0] for key, values in value.items() if values and values[0] != ""}


# --- changes; None: nothing here to be changed so


def _some_call(calls: list[Call], random_: random.Random) -> tuple[dict[str, Any], str] | None:
    """The arguments of some call that has any, and the name of one."""
    able = [arguments for _, arguments in calls if arguments]
    if not able:
        return None
    arguments = random_.choice(able)
    return arguments, random_.choice(list(arguments))


def _wrong_name(calls: list[Call], functions: list[dict[str, Any]], random_: random.Random) -> list[Call]:
    place = random_.randrange(len(calls))
    name, arguments = calls[place]
    others = [function["name"] for function in functions if function["name"] != name]
    calls[place] = (random_.choice([*others, name + "_2", name.upper() + "x"]), arguments)
    return calls


def _missing(calls: list[Call], functions: list[dict[str, Any]], random_: random.Random) -> list[Call] | None:
    if random_.random() < 0.25:
        return [call for place, call in enumerate(calls) if place != len(calls) - 1]
    if (found := _some_call(calls, random_)) is None:
        return None
    arguments, name = found
    del arguments[name]
    return calls


def _extra(calls: list[Call], functions: list[dict[str, Any]], random_: random.Random) -> list[Call]:
    kind = random_.randrange(3)
    if kind == 0:
        return [*calls, deepcopy(random_.choice(calls))]
    name, arguments = random_.choice(calls)
    function = next(function for function in functions if function["name"] == name)
    unused = [key for key in function["parameters"]["properties"] if key not in arguments]
    key = random_.choice(unused) if unused and kind == 1 else "extra_parameter"
    arguments[key] = random_.choice(["x", 1, True, 0.5, [], {}, ""])
    return calls


def _wrong_type(calls: list[Call], functions: list[dict[str, Any]], random_: random.Random) -> list[Call] | None:
    if (found := _some_call(calls, random_)) is None:
        return None
    arguments, name = found
    value = arguments[name]
    others: list[Any] = [
        str(value),
        [value],
        {"value": value},
        None,
        True,
        1,
        1.0,
        [1, 2.5],
        [[]],
        [{"a": 1}],
        ["a", 1],
    ]
    if type(value) is int:
        others += [float(value), value + 0.5, bool(value)]
    if type(value) is float and value.is_integer():
        others += [int(value), int(value)]
    arguments[name] = random_.choice([other for other in others if type(other) is not type(value)] + [_retyped(value)])
    return calls


def _retyped(value: Any) -> Any:
    """The same with an inner value of another type."""
    if isinstance(value, list) and value:
        return [_retyped(value[0]), *value[1:]]
    if isinstance(value, dict) and value:
        first = next(iter(value))
        return {**value, first: _retyped(value[first])}
    return float(value) if type(value) is int else int(value) if type(value) is float else [value]


def _wrong_value(calls: list[Call], functions: list[dict[str, Any]], random_: random.Random) -> list[Call] | None:
    if (found := _some_call(calls, random_)) is None:
        return None
    arguments, name = found
    arguments[name] = _another(arguments[name], random_)
    return calls


def _another(value: Any, random_: random.Random) -> Any:
    """A value of the same type; strings also as they may be spelled otherwise."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return random_.choice([value + 1, -value, 0, value * 2, value + 0.0])
    if isinstance(value, str):
        spelled = [value.upper(), value.replace(" ", "_"), f" {value}. ", value.replace("'", '"'), value.title()]
        return random_.choice([*spelled, value + "x", value[:-1], "", value[::-1], value.replace("-", ":")])
    if isinstance(value, list):
        if not value:
            return [0]
        place = random_.randrange(len(value))
        changed = [*value[:place], _another(value[place], random_), *value[place + 1 :]]
        return random_.choice([changed, changed, value[::-1], value[1:], [*value, value[0]], []])
    if isinstance(value, dict) and value:
        key = random_.choice(list(value))
        less = {other: inner for other, inner in value.items() if other != key}
        return random_.choice([{**value, key: _another(value[key], random_)}, less, {**value, "more": 1}, {}])
    return {"more": 1} if isinstance(value, dict) else "x"


def _reordered(calls: list[Call], functions: list[dict[str, Any]], random_: random.Random) -> list[Call]:
    shuffled = []
    for name, arguments in random_.sample(calls, len(calls)):
        keys = random_.sample(list(arguments), len(arguments))
        shuffled.append((name, {key: arguments[key] for key in keys}))
    if len(shuffled) > 1 and random_.random() < 0.3:  # two calls exchange their arguments
        shuffled[0], shuffled[1] = (shuffled[0][0], shuffled[1][1]), (shuffled[1][0], shuffled[0][1])
    return shuffled


Change = Callable[[list[Call], list[dict[str, Any]], random.Random], list[Call] | None]
CHANGES: dict[str, Change] = {
    "wrong name": _wrong_name,
    "missing": _missing,
    "extra": _extra,
    "wrong type": _wrong_type,
    "wrong value": _wrong_value,
    "reordered": _reordered,
}


def peer_answers(wheel: Path, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the package's own code says of each job."""
    lines = "".join(json.dumps(job) + "\n" for job in jobs)
    command = [sys.executable, "-m", "tests.benchmarks.bfcl_checker", str(wheel)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A case on which the two differ; `theirs` is None where the package raises."""

    case: Case
    ours: AstVerdict
    theirs: bool | None
    kind: str  # the package's


def compare(wheel: Path, *, seed: int, wrong: int) -> tuple[Counter[str], Counter[str], list[Disagreement]]:
    """How many cases of each change, how many of them the package calls valid, and the disagreements."""
    files = BfclFiles(wheel)
    bfcl = read_bfcl(files)
    asked = list(cases(files, bfcl, seed=seed, wrong=wrong))
    counts: Counter[str] = Counter()
    valid: Counter[str] = Counter()
    found = []
    for case, theirs in zip(asked, peer_answers(wheel, [case.job() for case in asked]), strict=True):
        ours = case.ours(bfcl)
        counts[case.change] += 1
        valid[case.change] += theirs["valid"] is True
        if theirs["valid"] is not ours.right:
            found.append(Disagreement(case=case, ours=ours, theirs=theirs["valid"], kind=theirs["kind"]))
    return counts, valid, found


def main() -> None:
    """Print the figures by change, the disagreements, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True, help="the wheel, or the folder it was unpacked into")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wrong", type=int, default=2, help="changes of each kind per record (default: %(default)s)")
    args = parser.parse_args()
    counts, valid, found = compare(args.wheel, seed=args.seed, wrong=args.wrong)
    raised = Counter(one.case.change for one in found if one.theirs is None)
    differ = Counter(one.case.change for one in found if one.theirs is not None)
    print(f"{'change':16}{'cases':>8}{'valid':>8}{'differ':>8}{'raised':>8}")
    for change, count in counts.items():
        print(f"{change:16}{count:8}{valid[change]:8}{differ[change]:8}{raised[change]:8}")
    for (kind, reason), group in _grouped(found).items():
        print(f"\n{len(group)} × theirs: {kind}; ours: {reason}")
        for one in group[:SHOWN]:
            print(
                f"  {one.case.record.task.id} {one.case.change}: {json.dumps(one.case.calls)[:160]}  {one.ours.detail}"
            )
    total = counts.total()
    changes = total - counts["gold"] - counts["another value"]
    answered = total - raised.total()
    agreement = (answered - differ.total()) / answered
    greedy = sum(one.kind == GREEDY and one.ours.right for one in found)
    gold_differ = differ["gold"] + differ["another value"]
    print_figures(
        "bfcl_agreement",
        ours={
            "cases": total,
            "changes": changes,
            "agreement": round(agreement, 6),
            "differ": dict(differ),
            "differ for greed": greedy,
        },
        peer={"valid": dict(valid), "raised": dict(raised)},
        targets={
            "gold cases that differ": [gold_differ, "0", gold_differ == 0],
            "changes": [changes, "≥ 5000", changes >= 5000],
            "differ, but for greed": [len(found) - greedy, "0", len(found) == greedy],
        },
    )


def _grouped(found: Sequence[Disagreement]) -> dict[tuple[str, str], list[Disagreement]]:
    groups: dict[tuple[str, str], list[Disagreement]] = {}
    for one in found:
        kind = f"raised {one.kind}" if one.theirs is None else f"valid={one.theirs} {one.kind}"
        groups.setdefault((kind, one.ours.reason.value), []).append(one)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


if __name__ == "__main__":
    main()
