"""A user's own tools, by the commands of the README: imported, made into tasks, evaluated, recorded and replayed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from envs.executors import system_calls
from rollout.records import RecordReader

LACK = system_calls.missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(LACK is not None, reason=f"needs a kernel sandbox: {LACK}"),
]

SHOP = '''
"""Tools of a shop."""
import itertools

COUNT = itertools.count()


def order_state(order: int) -> str:
    """Tell the state of an order.

    Args:
        order: the order's number, e.g. 7 or 12
    """
    return {7: "shipped", 12: "in the warehouse"}[order]


def ship_days(distance: int) -> int:
    """Tell how many days an order takes over a distance.

    Args:
        distance: in kilometres, e.g. 40 or 700
    """
    return 1 + distance // 100


def sum_up(prices: list[float]) -> float:
    """Sum prices up."""
    return round(sum(prices), 2)


def broken(x: int) -> int:
    """Never works."""
    raise ValueError(x)
'''


def toolscout(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "launch.run", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def observations(run: Path) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (found.trajectory.id, turn.observation.texts)
        for file in sorted(run.glob("evaluation/*/*.jsonl.gz"))
        for found in RecordReader(file)
        for turn in found.trajectory.turns
    ]


def test_from_python_files_to_an_evaluation_that_is_replayed_with_nothing_to_run(tmp_path: Path) -> None:
    tools, my = tmp_path / "tools", tmp_path / "my"
    tools.mkdir()
    (tools / "shop.py").write_text(SHOP, encoding="utf-8")
    run = f"executor.python.folder={tools}"
    toolscout("catalogue", "import", str(tools), "--out", str(my / "tools.jsonl"))
    said = toolscout("tasks", "make", "--catalogue", str(my / "tools.jsonl"), run, "making.unseen_share=0.5")
    assert "4: the call ended as tool_error" in said
    tasks = [json.loads(line) for line in (my / "tasks.jsonl").read_text().splitlines()]
    gold = {
        call["arguments"]["order"]: task["gold_answer"]
        for task in tasks
        for call in task["gold_calls"]
        if "order" in call["arguments"]
    }
    assert gold.items() <= {7: "shipped", 12: "in the warehouse"}.items()
    assert gold
    for task in tasks:
        task["split"] = "test"
    (my / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks), encoding="utf-8")

    def evaluate(name: str, policy: str) -> dict[str, Any]:
        record = (f"executor.record.path={tmp_path / 'calls.sqlite'}", f"executor.record.policy={policy}")
        small = ("retriever.kind=bm25", f"output_dir={tmp_path}", f"name={name}")
        toolscout("eval", "quickstart", "model.path=nano", "--data", str(my), run, *record, *small)
        summary = json.loads((tmp_path / f"{name}-eval" / "summary.json").read_text())
        metrics: dict[str, Any] = summary["stages"]["model"]["test"]
        return metrics

    live = evaluate("live", "call_and_record")
    assert live["calls"] > 0
    assert live["replayed"] == 0
    tools.rename(tmp_path / "gone")
    replayed = evaluate("replayed", "replay_only")
    assert replayed["replayed"] == 1
    assert observations(tmp_path / "replayed-eval") == observations(tmp_path / "live-eval")
    for name in ("pass_rate", "all_gold_selected", "calls", "format_rate"):
        assert replayed[name] == live[name]
