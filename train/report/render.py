"""`report.html`: one self-contained page about a run, and one that lays several runs over each other.

Reads only what lies in a run's folder; what is missing or unreadable is said in its section. Everything that a policy,
a tool or a user wrote is escaped by the templates.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from retriever.base.errors import ToolscoutError, UserError
from retriever.base.files import read_json, write_atomically
from train.evaluation.store import evaluations, read_records_by_task
from train.evaluation.tables import COLUMNS, LEGEND, split_name, split_tables, stage_name
from train.report.charts import Series, bar_chart, line_chart
from train.report.curves import Panel, overlaid_panels, panels, stage_title
from train.report.episodes import Story, stories
from train.report.figures import evaluation_figures, tiles
from train.report.manifest import manifest_details, manifest_facts, run_name
from train.tracking import read_metrics

STAGE_ORDER = ("base", "sft", "rl")
REPORT = "report.html"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # no HTML, and no reader, can do anything with these

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section(Generic[T]):
    """A part of the page: its content, or what is missing, or both."""

    value: T | None = None
    problem: str | None = None


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a run's folder, from what lies there; its path. Raises UserError without the folder."""
    if not run_dir.is_dir():
        raise UserError(f"report: no run folder at {run_dir}; check the path")
    manifest = _section(lambda: _json(run_dir / "manifest.json", "manifest.json, which says what the run was"))
    summary = _section(lambda: _json(run_dir / "summary.json", "summary.json, which the evaluation writes"))
    facts = manifest.value or {}
    numbers = summary.value or {}
    page = _render(
        "report.html.jinja",
        title=f"Toolscout run “{run_name(facts, run_dir)}”",
        subtitle=_subtitle(facts, numbers),
        tiles=tiles(numbers),
        evaluation=_derived(
            summary, lambda found: {"figures": evaluation_figures(found), "tables": split_tables(found)}
        ),
        charts=_section(lambda: _by_stage(panels(_metrics(run_dir)))),
        episodes=_section(lambda: _stories(run_dir)),
        manifest=_derived(manifest, lambda found: {"facts": manifest_facts(found), "details": manifest_details(found)}),
    )
    write_atomically(run_dir / REPORT, page)
    return run_dir / REPORT


def write_comparison(
    run_dirs: Sequence[Path], out: Path, *, labels: Sequence[str] | None = None, title: str = "Toolscout runs compared"
) -> Path:
    """Write one page that overlays the curves of several runs and lists their last stages; `out`."""
    for run_dir in run_dirs:
        if not run_dir.is_dir():
            raise UserError(f"comparison: no run folder at {run_dir}; check the path")
    names = _distinct(list(labels) if labels is not None else [run_dir.name for run_dir in run_dirs])
    runs = dict(zip(names, run_dirs, strict=True))
    rows, last_stages, problems = {}, {}, []
    for name, run_dir in runs.items():
        found = _section(lambda folder=run_dir: _metrics(folder))  # type: ignore[misc]
        summary = _section(lambda folder=run_dir: _json(folder / "summary.json", "summary.json"))  # type: ignore[misc]
        problems += [f"{name}: {part.problem}" for part in (found, summary) if part.problem]
        rows[name] = found.value or []
        if stages := (summary.value or {}).get("stages"):
            last = list(stages)[-1]
            last_stages[f"{name}, {stage_name(last)}"] = stages[last]
    page = _render(
        "comparison.html.jinja",
        title=title,
        runs=[Series(name=name, points=(), colour=index) for index, name in enumerate(runs)],
        problems=problems,
        tables=split_tables({"stages": last_stages}),
        charts=_section(lambda: _by_stage(overlaid_panels(rows))),
    )
    write_atomically(out, page)
    return out


def _section(make: Callable[[], T]) -> Section[T]:
    """What `make` gives, or the reason why it could not."""
    try:
        return Section(value=make())
    except ToolscoutError as error:
        return Section(problem=str(error))


def _derived(source: Section[Any], make: Callable[[Any], T]) -> Section[T]:
    return Section(problem=source.problem) if source.value is None else Section(value=make(source.value))


def _json(path: Path, what: str) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"Missing: {what}.")
    found = read_json(path, what=what)
    if not isinstance(found, dict):
        raise UserError(f"{path.name} is not a JSON object; regenerate it.")
    return found


def _metrics(run_dir: Path) -> list[dict[str, Any]]:
    rows = read_metrics(run_dir / "metrics.jsonl")
    if not rows:
        raise UserError("Missing: metrics.jsonl, which training writes, has no row yet.")
    return rows


def _by_stage(found: Sequence[Panel]) -> list[tuple[str, list[Panel]]]:
    stages = dict.fromkeys(panel.stage for panel in found)
    return [(stage_title(stage), [panel for panel in found if panel.stage == stage]) for stage in stages]


def _stories(run_dir: Path) -> list[Story]:
    paths: dict[str, dict[str, Path]] = {}
    for stage, split, path in evaluations(run_dir):
        paths.setdefault(split, {})[stage] = path
    if not paths:
        raise UserError("Missing: the evaluated episodes, evaluation/<stage>/<split>.jsonl.gz.")
    records = {
        split: {stage: read_records_by_task(stages[stage]) for stage in sorted(stages, key=_stage_order)}
        for split, stages in paths.items()
    }
    return stories(records)


def _stage_order(stage: str) -> tuple[int, str]:
    return (STAGE_ORDER.index(stage) if stage in STAGE_ORDER else len(STAGE_ORDER), stage)


def _subtitle(manifest: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    parts = [str(manifest["status"])] if "status" in manifest else []
    parts += [f"started {manifest['started_at']}"] if "started_at" in manifest else []
    if isinstance(seconds := summary.get("seconds"), int | float):
        parts.append(f"{int(seconds // 60)} min {int(seconds % 60)} s")
    return " · ".join(parts)


def _distinct(names: list[str]) -> list[str]:
    """Names that differ, since a legend with the same name twice says nothing."""
    return [name if names.count(name) == 1 else f"{name} #{names[:i].count(name) + 1}" for i, name in enumerate(names)]


def _render(template: str, **content: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "line_chart": line_chart,
        "bar_chart": bar_chart,
        "columns": COLUMNS,
        "legend_text": LEGEND,
        "split_name": split_name,
        "stage_name": stage_name,
    }
    page = environment.get_template(template).render(**content)
    # A policy's text may hold control characters and lone surrogates, which no UTF-8 file can.
    return _CONTROL.sub("\ufffd", page).encode("utf-8", "replace").decode()
