"""A summary as tables: for the terminal (Rich) and for the model card (Markdown). One place decides each cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

MISSING = "–"
RAW = "raw instruction"

STAGE_NAMES = {"base": "base", "sft": "after SFT", "rl": "after RL"}
SPLIT_NAMES = {
    "held_out": "Held-out arguments",
    "unseen_paraphrases": "Unseen paraphrases",
    "unseen_tools": "Unseen tools",
    "dev": "Dev",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One metric as it is printed."""

    metric: str
    title: str
    short: str  # for terminals
    percent: bool = True
    interval: bool = False
    dispensable: bool = False  # left out where a terminal is narrow


COLUMNS = (
    Column(metric="pass_rate", title="pass rate", short="pass", interval=True),
    Column(metric="all_gold_selected", title="all gold", short="all gold", interval=True),
    Column(metric="toolset_size", title="size", short="size", percent=False),
    Column(metric="selection_precision", title="precision", short="prec"),
    Column(metric="recall_at_5", title="recall@5", short="rec@5"),
    Column(metric="recall_union", title="union", short="union", dispensable=True),
    Column(metric="ndcg_at_5", title="NDCG@5", short="NDCG", dispensable=True),
    Column(metric="rank1_all_gold", title="rank 1", short="rank1", dispensable=True),
    Column(metric="format_rate", title="format", short="format", dispensable=True),
)
WIDE = 106  # characters that the whole table takes in a terminal

LEGEND = (
    "Percent; ± is half of the 95% interval, bootstrapped over tasks. All gold: every gold tool is in the selection, "
    "beside the mean size and precision of the selections. Recall@5: of the best single search; union: of all. "
    "NDCG@5: standard, of the ranked selection. Rank 1: every gold tool came first in one of the episode's own "
    "searches. Raw instruction: one search with the task's own words and no policy, its first tools selected at the "
    "last stage's mean toolset size. Lost: episodes that our own machinery broke, left out of the means."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One printed line: a stage, or the baseline, on some tasks of a split."""

    tasks: str  # "all 100", "single 50" …; the same for the lines of one group
    name: str
    cells: tuple[str, ...]  # one per column of COLUMNS
    baseline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTable:
    """All lines of one split."""

    split: str
    title: str
    groups: tuple[tuple[Row, ...], ...]  # all tasks, then those of each first tag


def split_tables(summary: Mapping[str, Any]) -> list[SplitTable]:
    """One table per split that a stage or the baseline knows."""
    stages, baseline = summary.get("stages", {}), summary.get("baseline", {})
    splits = dict.fromkeys(split for blocks in (*stages.values(), baseline) for split in blocks)
    tables = []
    for split in splits:
        groups = []
        of_split = {stage: found[split] for stage, found in stages.items() if split in found}
        raw = baseline.get(split)
        known = dict.fromkeys(tag for block in (*of_split.values(), raw or {}) for tag in block.get("groups", {}))
        for tag in (None, *known):
            blocks = {stage: _of_group(block, tag) for stage, block in of_split.items()}
            told = {stage: block for stage, block in blocks.items() if block}
            if group := _group(tag or "all", told, _of_group(raw, tag)):
                groups.append(group)
        tables.append(SplitTable(split=split, title=split_name(split), groups=tuple(groups)))
    return tables


def split_name(split: str) -> str:
    """How a split is called in print."""
    return SPLIT_NAMES.get(split, split.replace("_", " ").capitalize())


def stage_name(stage: str) -> str:
    """How a stage is called in print."""
    return STAGE_NAMES.get(stage, stage)


def rich_tables(summary: Mapping[str, Any], *, width: int = WIDE) -> list[Table]:
    """The tables for a terminal of so many characters."""
    shown = [index for index, column in enumerate(COLUMNS) if width >= WIDE or not column.dispensable]
    return [_rich_table(table, shown) for table in split_tables(summary)]


def markdown_tables(summary: Mapping[str, Any]) -> str:
    """The tables for a model card, with the legend."""
    header = ["tasks", "stage", *(column.title for column in COLUMNS)]
    lines: list[str] = []
    for table in split_tables(summary):
        lines += [f"**{table.title}**", "", _line(header), _line(["---", "---", *["--:"] * len(COLUMNS)])]
        for group in table.groups:
            lines += [_line([row.tasks if row is group[0] else "", row.name, *row.cells]) for row in group]
        lines.append("")
    return "\n".join([*lines, LEGEND if lines else "No evaluation was made."])


def cell(block: Mapping[str, Any], column: Column) -> str:
    """The printed value of one metric, its interval behind it where the column has one."""
    value = block.get(column.metric)
    if value is None:
        return MISSING
    if not column.percent:
        return f"{value:.2f}"
    text = f"{100 * value:.1f}"
    interval = block.get("intervals", {}).get(column.metric) if column.interval else None
    return text if interval is None else f"{text} ±{50 * (interval[1] - interval[0]):.1f}"


def _of_group(block: Mapping[str, Any] | None, tag: str | None) -> Mapping[str, Any] | None:
    return block if block is None or tag is None else block.get("groups", {}).get(tag)


def _group(tag: str, stages: Mapping[str, Mapping[str, Any]], raw: Mapping[str, Any] | None) -> tuple[Row, ...]:
    counts = [block.get("n", 0) for block in (*stages.values(), *([raw] if raw else []))]
    tasks = f"{tag} {max(counts, default=0)}"
    rows = [
        Row(tasks=tasks, name=_with_failures(stage, block), cells=tuple(cell(block, column) for column in COLUMNS))
        for stage, block in stages.items()
    ]
    if raw:
        sized = raw.get("equal_size", {})
        at_size = sized[list(sized)[-1]] if sized else {}
        shown = {
            **{name: raw.get(name) for name in ("recall_at_5", "ndcg_at_5")},
            "recall_union": raw.get("recall_at_5"),  # one search is all searches
            "rank1_all_gold": raw.get("all_gold_at_1"),
            **at_size,
        }
        rows.append(Row(tasks=tasks, name=RAW, cells=tuple(cell(shown, column) for column in COLUMNS), baseline=True))
    return tuple(rows)


def _with_failures(stage: str, block: Mapping[str, Any]) -> str:
    """The stage's name; a failure of ours must not hide in a mean that left it out."""
    failures = block.get("infra_failures", 0)
    return f"{stage_name(stage)} ({failures} lost)" if failures else stage_name(stage)


def _rich_table(table: SplitTable, shown: Sequence[int]) -> Table:
    rich = Table(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    rich.add_column("tasks", style="dim", no_wrap=True)
    rich.add_column("stage", no_wrap=True)
    for index in shown:
        rich.add_column(COLUMNS[index].short, justify="right", no_wrap=True)
    for group in table.groups:
        for row in group:
            cells = (row.cells[index] for index in shown)
            style = "dim" if row.baseline else None
            rich.add_row(row.tasks if row is group[0] else "", row.name, *cells, style=style)
        rich.add_section()
    return rich


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
