"""Retrievers alone, without a policy: evaluated on tasks whose gold tools are known."""

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from configs.load import dump_yaml, is_override, load_config, to_dict
from configs.schema import RetrievalConfig
from envs.worlds.world import build_world
from launch.display import Display, new_console
from launch.manifest import attempt
from retriever.base.errors import UserError
from retriever.base.files import write_json
from retriever.build import build_index, build_retriever, configured_encoder
from retriever.config import RetrieverConfig
from retriever.encoder import Encoder
from retriever.evaluation import (
    ALL,
    DEPTH,
    MEASURES,
    Estimate,
    LabelledQuery,
    LeftOut,
    QueryScores,
    by_group,
    leave_one_group_out,
    score_queries,
)
from retriever.search import Retriever


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A config, and what was varied to come to it."""

    config: RetrievalConfig
    varied: Mapping[str, str]


def trials(overrides: Sequence[str], choices: Sequence[str]) -> list[Trial]:
    """One trial for each combination of `choices` ("key=v1,v2"), or a single one. Raises UserError."""
    for text in overrides:
        if not is_override(text):
            raise UserError(f"{text!r}: expected key=value, e.g. retriever.kind=bm25")
    axes: dict[str, list[str]] = {}
    for choice in choices:
        key, equals, values = choice.partition("=")
        if not equals or not all(values.split(",")):
            raise UserError(f"--choose {choice}: expected KEY=V1,V2,…, e.g. retriever.lexical_weight=0.3,0.5")
        if not key.startswith("retriever."):
            raise UserError(f"--choose {choice}: only keys of the retriever can be chosen, e.g. retriever.b=0.5,0.75")
        axes[key] = values.split(",")
    found = []
    for combination in itertools.product(*axes.values()):
        varied = dict(zip(axes, combination, strict=True))
        settings = [*overrides, *(f"{key}={value}" for key, value in varied.items())]
        found.append(Trial(config=load_config(RetrievalConfig, None, settings), varied=varied))
    return found


def plan(planned: Sequence[Trial]) -> str:
    """What --dry-run prints: a config, and how many are tried."""
    tried = f"# {len(planned)} combinations are tried; this is the first\n" if len(planned) > 1 else ""
    return tried + dump_yaml(planned[0].config)


def evaluate(planned: Sequence[Trial], *, by: str, out: Path | None) -> None:
    """Run the trials, print the table, and write `out`."""
    display = Display(new_console())
    config = planned[0].config
    world = build_world(config.world)
    tasks = world.tasks(config.split, config.max_queries, config.seed)
    queries = [
        LabelledQuery(text=task.asked, gold=task.gold_tools, group=(*task.tags, task.split)[0])
        for task in tasks
        if task.gold_tools
    ]
    queries.sort(key=lambda query: query.group)
    if left_out := len(tasks) - len(queries):
        display.say(f"{left_out} of {len(tasks)} tasks name no gold tools and are left out")
    encoder = _Remembering(config.retriever)
    scored: list[tuple[Mapping[str, Any], Sequence[QueryScores]]] = []
    with display.bar("searching", len(queries) * len(planned)) as advance:
        for trial in planned:
            tried = trial.config.retriever
            chosen = encoder if _encoder_of(tried) == encoder.of else None
            retriever: Retriever = (
                build_index(tried, world.catalogue, encoder=chosen)
                if tried.url is None
                else build_retriever(tried, world.catalogue)
            )
            scored.append((trial.varied, score_queries(retriever, queries, advance=advance)))
    notes: list[LeftOut] = []
    scores: Sequence[QueryScores] = scored[0][1]
    if len(planned) > 1:
        scores, notes = leave_one_group_out(scored, measure=by)
    table = by_group(scores, seed=config.seed)
    title = f"{len(world.catalogue)} tools, {len(queries)} queries, one search each with the task's own words"
    display.console.print(_table(table, title=title))
    for note in notes:
        settings = ", ".join(f"{key.removeprefix('retriever.')}={value}" for key, value in note.settings.items())
        display.say(f"{note.group}: {settings} (best on the others: {by} {100 * note.others:.1f})")
    if len(planned) > 1:
        best = max(scored, key=lambda trial: by_group(trial[1])[ALL][by].mean)
        settings = " ".join(f"{key}={value}" for key, value in best[0].items())
        display.say(f"best on all groups, for tasks that are not among these: {settings}")
    if out is not None:
        write_json(out, _record(planned, table, notes, tools=len(world.catalogue), hash=world.catalogue.content_hash))
        display.say(f"written: {out}")


_HEADS = {"hits_only_ndcg@5": "hits\n@5", "recall@5": "rec.\n@5", "completeness@5": "all\n@5"}
_CAPTION = (
    "Percent, ± half of the 95% interval, bootstrapped over queries. ndcg: standard; hits: hits-only NDCG (ToolGen's); "
    f"rec.: recall; all: completeness, every gold tool found; mrr and map look at the first {DEPTH}."
)


def _table(table: Mapping[str, Mapping[str, Estimate]], *, title: str) -> Table:
    """Groups down, measures across; in percent, ± half of the 95% interval."""
    shown = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=_CAPTION)
    shown.add_column("group", no_wrap=True)
    shown.add_column("n", justify="right")
    for name in MEASURES:
        shown.add_column(_HEADS.get(name, name.replace("@", "\n@")), justify="right")
    for group, values in table.items():
        if group == ALL and len(table) > 1:
            shown.add_section()
        cells = (f"{100 * one.mean:.1f} ±{50 * (one.high - one.low):.1f}" for one in values.values())
        shown.add_row(group, str(values["ndcg@5"].count), *cells)
    return shown


def _record(
    planned: Sequence[Trial],
    table: Mapping[str, Mapping[str, Estimate]],
    notes: Sequence[LeftOut],
    *,
    tools: int,
    hash: str,
) -> dict[str, Any]:
    groups = {group: {name: asdict(one) for name, one in values.items()} for group, values in table.items()}
    return {
        "config": to_dict(planned[0].config),
        "tried": [dict(trial.varied) for trial in planned],
        "left_one_group_out": [to_dict(note) for note in notes],
        "catalogue": {"tools": tools, "content_hash": hash},
        "groups": groups,
        **attempt(sys.argv),
    }


def _encoder_of(config: RetrieverConfig) -> tuple[str, str, str]:
    """What makes two encoders the same."""
    return config.encoder, config.pooling, config.dtype


class _Remembering:
    """An encoder that is loaded when it is first asked and encodes a text once: trials share texts."""

    def __init__(self, config: RetrieverConfig) -> None:
        self._config = config
        self.of = _encoder_of(config)
        self._encoder: Encoder | None = None
        self._known: dict[str, NDArray[np.float32]] = {}

    @property
    def fingerprint(self) -> str:
        return self._loaded().fingerprint

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:  # [T, D]
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._loaded().encode(new), strict=True))
        return np.stack([self._known[text] for text in texts]) if texts else self._loaded().encode([])

    def _loaded(self) -> Encoder:
        if self._encoder is None:
            self._encoder = configured_encoder(self._config)
        return self._encoder
