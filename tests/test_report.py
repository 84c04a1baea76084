"""Report: complete, self-contained, harmless whatever a policy wrote, and patient with what is missing."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from envs.types import Observation, Phase, StopReason
from retriever.base.errors import UserError
from retriever.base.files import write_json
from rollout.records import Record
from rollout.types import TaskRollouts, Trajectory
from tests.test_evaluation import SOLVED, TASK, example_summary, turn
from train.evaluation.store import evaluation_path, write_evaluation
from train.report.charts import Bar, Series, bar_chart, is_noisy, line_chart, nice_ticks, smoothed, tick_text
from train.report.curves import overlaid_panels, panels
from train.report.episodes import CLIP, clipped, stories
from train.report.render import write_comparison, write_report
from train.tracking import JsonlTracker

EVIL = "<script>alert('x')</script>&\"\x00\ud800"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and holds that every tag is closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.html = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(self.html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def played(stage_passes: bool, task_id: str = "t", tags: tuple[str, ...] = ("chained",)) -> Trajectory:
    task = replace(TASK, id=task_id, tags=tags)
    return replace(SOLVED, id=f"{task_id}/0", task=task, answer="3" if stage_passes else "4")


def run_folder(path: Path, *, name: str = "demo", lift: float = 1.0, note: str = "fine") -> Path:
    """A finished run of two stages, with everything that a report reads."""
    tracker = JsonlTracker(path / "metrics.jsonl")
    for step in range(1, 4):
        tracker.log("sft", step, {"loss": 3.0 / step, "learning_rate": 1e-4})
    for step in range(1, 30):
        noise = 0.05 * (-1) ** step
        metrics = {
            "reward/retrieval": 0.5 + lift * step / 100 + noise,
            "reward/retrieval/ndcg": 0.4,
            "gate/pass_rate": 0.5,
        }
        tracker.log("rl", step, {**metrics, "engine/gap_max": math.nan if step == 5 else 1e-6, f"odd/{EVIL[:8]}": 1.0})
    tracker.close()
    write_json(path / "summary.json", example_summary())
    manifest = {"status": "finished", "config": {"name": name, "grpo": {"lr": 1e-4}, "note": note}, "versions": {}}
    (path / "manifest.json").write_text(json.dumps(manifest))
    for stage, passes in (("sft", False), ("rl", True)):
        rollouts = [TaskRollouts(task=t.task, retrieval=(t,), executions=()) for t in (played(passes),)]
        write_evaluation(evaluation_path(path, stage, "held_out"), rollouts, [{"retrieval": {"total": 0.5}}])
    return path


def test_a_whole_run_is_reported_in_one_file(tmp_path: Path) -> None:
    path = write_report(run_folder(tmp_path / "run"))
    assert path == tmp_path / "run" / "report.html"
    page = Page(path)
    assert "Toolscout run “demo”" in page.text
    assert "33.3 ±50.0" in page.text  # the evaluation table
    assert "raw instruction" in page.text
    assert "reward/retrieval" in page.text
    assert "Reinforcement learning: GRPO" in page.text
    assert "learned" in page.text  # the episode, before and after
    assert page.text.count("root of the sum") == 1
    assert "✗ not passed" in page.text
    assert "✓ passed" in page.text
    assert "grpo.lr" in page.text
    assert "Missing" not in page.text
    assert page.tags.count("svg") >= 6


def test_the_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    for path in (
        write_report(run_folder(tmp_path / "run")),
        write_comparison([tmp_path / "run"], tmp_path / "comparison.html"),
    ):
        page = Page(path)
        assert not {"script", "link", "img", "iframe", "object", "embed"} & set(page.tags)
        links = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
        assert all(value is not None and value.startswith("#") for value in links)
        assert not re.search(r"url\(|@import|https?://", page.html)
        targets = {value for name, value in page.attributes if name == "id"}
        assert {str(link)[1:] for link in links} <= targets


def test_what_a_policy_wrote_stays_text(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", name=EVIL, note=EVIL)
    bad = turn(Phase.EXECUTION, Observation(texts=(EVIL,), format_error=EVIL, stop=StopReason.PARSE_FAILURE))
    bad = replace(bad, text=EVIL)
    task = replace(TASK, id=EVIL, instruction=EVIL, gold_answer=EVIL, gold_tools=(EVIL,), tags=(EVIL,))
    evil = replace(SOLVED, task=task, turns=(*SOLVED.turns, bad), selection=(EVIL,), answer=EVIL, failure=EVIL)
    rollouts = [TaskRollouts(task=task, retrieval=(evil,), executions=())]
    write_evaluation(evaluation_path(run, "rl", EVIL[:8]), rollouts, [{EVIL: {"total": 1.0}}])
    summary = json.loads((run / "summary.json").read_text())
    summary["stages"][EVIL[:8]] = summary["stages"]["rl"]
    write_json(run / "summary.json", summary)
    for path in (write_report(run), write_comparison([run], tmp_path / "c.html", labels=[EVIL], title=EVIL)):
        page = Page(path)
        assert "script" not in page.tags
        assert "alert('x')" in page.text
        assert "\x00" not in page.html
        assert not any(name.startswith("on") for name, _ in page.attributes)


def test_each_missing_piece_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    text = Page(write_report(empty)).text
    for piece in ("manifest.json", "summary.json", "metrics.jsonl", "evaluation/<stage>/<split>.jsonl.gz"):
        assert re.search(rf"Missing: [^.]*{re.escape(piece)}", text), piece
    assert "Toolscout run “empty”" in text


def test_a_broken_piece_is_told_and_the_rest_is_shown(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    (run / "summary.json").write_text("{")
    (run / "metrics.jsonl").write_text("nonsense\n")
    evaluation_path(run, "rl", "held_out").write_bytes(b"no gzip")
    text = Page(write_report(run)).text
    assert "not valid JSON" in text
    assert "metrics.jsonl:1" in text
    assert "held_out.jsonl.gz:1: cannot be read (Not a gzipped file" in text
    assert "grpo.lr" in text


def test_a_report_of_no_folder_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run folder at"):
        write_report(tmp_path / "none")
    with pytest.raises(UserError, match="no run folder at"):
        write_comparison([tmp_path / "none"], tmp_path / "c.html")


def test_runs_are_laid_over_each_other(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / "a" / "run"), run_folder(tmp_path / "b" / "run", lift=0.2)]
    page = Page(write_comparison(runs, tmp_path / "comparison.html", title="Ablation"))
    assert "Ablation" in page.text
    assert "run #1, after RL" in page.text  # equal names are told apart
    assert "run #2, after RL" in page.text
    (tmp_path / "b" / "run" / "summary.json").unlink()
    page = Page(write_comparison(runs, tmp_path / "comparison.html", labels=["seed 1", "seed 2"]))
    assert "seed 1, after RL" in page.text
    assert "seed 2: Missing: summary.json" in page.text


def test_metrics_that_share_a_prefix_share_a_chart_if_their_sizes_do() -> None:
    rows: list[dict[str, Any]] = [
        {"stage": "rl", "step": step, "seconds": 1.0, "reward/a": 0.01, "reward/b": 0.9, "gate/rate": 0.5}
        | {"gate/count": 4.0, "gate/zero": 0.0, "loss": None, "text": "x", "zoo/b": 1.0, "zoo/a": 2.0}
        for step in (1, 2)
    ]
    found = [(panel.title, [line.name for line in panel.series]) for panel in panels(rows)]
    assert found == [
        ("reward", ["a", "b"]),  # rewards share one scale whatever their sizes
        ("gate/count", ["count"]),
        ("gate", ["rate", "zero"]),
        ("loss", ["loss"]),
        ("zoo", ["b", "a"]),
    ]
    assert panels(rows)[3].series[0].points == ((1.0, None), (2.0, None))


def test_a_run_keeps_its_colour_in_every_chart() -> None:
    row = {"stage": "rl", "step": 1, "seconds": 1.0}
    found = overlaid_panels({"one": [{**row, "x": 1.0}], "two": [{**row, "x": 2.0, "y": 3.0}]})
    assert [(p.title, [(s.name, s.colour, s.points) for s in p.series]) for p in found] == [
        ("x", [("one", 0, ((1.0, 1.0),)), ("two", 1, ((1.0, 2.0),))]),
        ("y", [("two", 1, ((1.0, 3.0),))]),
    ]


def test_stories_are_chosen_by_rule() -> None:
    outcomes = {  # task: passed before, passed after, tag
        "a": (True, True, "single"),
        "b": (False, True, "single"),
        "c": (False, True, "chained"),
        "d": (False, False, "single"),
        "e": (True, False, "single"),
    }
    records = {
        stage: {
            id: Record(trajectory=played(before if stage == "sft" else after, id, (tag,)))
            for id, (before, after, tag) in outcomes.items()
        }
        for stage in ("sft", "rl")
    }
    told = stories({"held_out": records})
    assert [(story.task_id, story.outcome) for story in told] == [("c", "learned"), ("e", "lost"), ("d", "still fails")]
    assert [play.stage for play in told[0].plays] == ["sft", "rl"]
    assert [play.passed for play in told[0].plays] == [False, True]
    assert told[0].plays[1].selection == (("sum", False), ("root", True), ("add", True))
    del records["rl"]["c"]  # a task that one stage lacks has no before and after
    assert [story.task_id for story in stories({"held_out": records})] == ["b", "e", "d"]
    few = {stage: {id: found[id] for id in "bc" if id in found} for stage, found in records.items()}
    assert [story.task_id for story in stories({"held_out": few})] == ["b"]


def test_long_texts_are_clipped_with_the_loss_told() -> None:
    assert clipped("x" * CLIP) == "x" * CLIP
    assert clipped("x" * (CLIP + 1234)) == "x" * CLIP + "… (1,234 more characters)"


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (0.42, 0.78, [0.4, 0.5, 0.6, 0.7, 0.8]),
        (-3.0, 5.0, [-4.0, -2.0, 0.0, 2.0, 4.0, 6.0]),
        (0.0, 3.1e-6, [0.0, 1e-6, 2e-6, 3e-6, 4e-6]),
        (0.0, 40_000.0, [0.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0]),
        (5.0, 5.0, [4.5, 4.75, 5.0, 5.25, 5.5]),
    ],
)
def test_ticks_are_round_and_enclose_the_data(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_tick_texts_are_short() -> None:
    assert [tick_text(tick, [0, 0.25, 0.5]) for tick in (0, 0.25, 0.5)] == ["0", "0.25", "0.50"]
    assert [tick_text(tick, [0, 10_000, 20_000]) for tick in (10_000, 20_000)] == ["10k", "20k"]
    assert [tick_text(tick, [0, 1e-6, 2e-6]) for tick in (1e-6, 2e-6)] == ["1e-6", "2e-6"]
    assert [tick_text(tick, [0, 2, 4]) for tick in (2, 4)] == ["2", "4"]


def test_a_line_is_placed_and_broken_where_a_value_is_missing() -> None:
    chart = line_chart([Series(name="a", points=((0, 0.0), (1, 1.0), (2, None), (3, 0.5), (4, 1.0)))], label="L")
    (path,) = re.findall(r'class="line" [^>]* d="([^"]*)"', chart)
    # x from 46 to 430 over steps 0 to 4, y from 186 (0) up to 8 (1)
    assert path == "M46.0 186.0L142.0 8.0M334.0 97.0L430.0 8.0"
    assert line_chart([Series(name="a", points=((0, None),))], label="L").startswith("<p")
    assert "dot" in line_chart([Series(name="a", points=((3, 0.5),))], label="L")


def test_smoothing_has_no_lag_and_leaves_smooth_lines_alone() -> None:
    straight = tuple((float(x), float(x)) for x in range(60))
    assert not is_noisy(straight)
    assert smoothed(straight)[30][1] == pytest.approx(30.0)
    jagged = tuple((float(x), float(x % 2)) for x in range(60))
    assert is_noisy(jagged)
    assert smoothed(jagged)[30][1] == pytest.approx(0.5, abs=0.05)
    gap = (*jagged[:30], (30.0, None), *jagged[31:])
    assert smoothed(gap)[30] == (30.0, None)


def test_bars_show_value_interval_and_baseline() -> None:
    bars = [Bar(name="rl", value=0.5, low=0.25, high=0.75), Bar(name="raw", value=0.25, baseline=True)]
    chart = bar_chart([("Held-out", bars)], label="Pass rate")
    assert '<rect class="bar"' in chart
    assert 'width="190.0"' in chart  # half of 560 - 128 - 52
    assert "rl: 50.0% (25.0–75.0)" in chart
    assert chart.count('class="baseline"') == 1
    assert chart.count('class="whisker"') == 1
