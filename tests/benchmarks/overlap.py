"""What it saves to play the next batch while one is trained: grpo.max_policy_lag 1 against 0, the same otherwise.

python -m tests.benchmarks.overlap [--rounds 5] [--batches 16]

Real GRPO of the nano base with a Ray worker in the embedded world, whose tool calls take 50 ms each; both runs train as
many batches of as many tasks from the same start, in turn. Counted is the wall time from the first batch's beginning to
the last update's end; the worker is there already. Worker and trainer have a core each; on a machine that is busy with
other things neither has, and the ratio says less.

Target: with lag 1, at most 0.75 times the time of lag 0, and no token trained that is older than one batch.

The last line printed is JSON: {"benchmark", "ours", "peer", "targets"}.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from envs.executors.config import ExecutorConfig
from envs.executors.faults import FaultConfig
from envs.worlds.world import build_world
from retriever.config import RetrieverConfig
from rewards.config import RewardConfig
from rollout.config import ModelConfig
from rollout.policy import load_model, load_tokenizer
from rollout.ray_pool import RayPool
from rollout.worker import WorkerSpec
from tests.benchmarks.timing import print_figures
from tests.ranks_main import ENV, ROLLOUT, SAMPLING, WORLD
from train.ahead import ahead
from train.config import GrpoConfig
from train.grpo import DecoupledGrpoTrainer
from train.nano.base import BASE
from train.source import RolloutSource

TOOL_S = 0.05
CONFIG = GrpoConfig(tasks_per_batch=4, group_size=4, gate="off", lr=2e-5, adam_eps=1e-6, save_every=1000, micro_batch=8)
SPEC = WorkerSpec(
    model_path=str(BASE),
    model=ModelConfig(),
    world=WORLD,
    retriever=RetrieverConfig(kind="bm25"),
    env=ENV,
    rollout=replace(ROLLOUT, workers=1),
    executor=ExecutorConfig(faults=FaultConfig(latency_share=1.0, latency_s=TOOL_S)),
)


@dataclass(kw_only=True)
class Run:
    """One run's figures."""

    wall_s: float = 0.0
    rows: list[Mapping[str, float]] = field(default_factory=list)

    def log(self, number: int, metrics: Mapping[str, float]) -> None:
        """See `BatchLog`."""
        self.rows.append(dict(metrics))

    def mean(self, name: str) -> float:
        """Of a metric, over all batches."""
        return sum(row.get(name, 0.0) for row in self.rows) / len(self.rows)


def trained(pool: RayPool, config: GrpoConfig, out: Path) -> Run:
    """Train from the base with workers that are there already."""
    tasks, run = build_world(WORLD).tasks("train", config.max_steps * config.tasks_per_batch, 1), Run()
    source = RolloutSource(
        pool=pool,
        tasks=lambda batch: tasks[batch * config.tasks_per_batch : (batch + 1) * config.tasks_per_batch],
        sampling=SAMPLING,
        rollout=SPEC.rollout,
        rewards=RewardConfig(),
        config=config,
        seed=3,
    )
    trainer = DecoupledGrpoTrainer(
        model=load_model(str(BASE), ModelConfig()),
        tokenizer=load_tokenizer(str(BASE)),
        source=ahead(source, config),
        config=config,
        temperature=ROLLOUT.temperature,
        out=out,
        seed=7,
        log=run.log,
    )
    started = perf_counter()
    trainer.train()
    run.wall_s = perf_counter() - started
    return run


def main() -> None:
    """Both in turn, after a short run that warms up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pool = RayPool(SPEC)
    runs: dict[int, list[Run]] = {0: [], 1: []}
    try:
        with tempfile.TemporaryDirectory() as folder:
            trained(pool, replace(CONFIG, max_steps=2), Path(folder))
            for _ in range(args.rounds):
                for lag, found in runs.items():
                    config = replace(CONFIG, max_steps=args.batches, max_policy_lag=lag)
                    found.append(trained(pool, config, Path(folder)))
                    run = found[-1]
                    print(
                        f"lag {lag}: {run.wall_s:6.2f} s; a batch: rollouts {run.mean('time/rollout_s'):.2f} s, waited "
                        f"for {run.mean('time/generation_s'):.2f} s, updates {updates_s(run):.2f} s, "
                        f"{run.mean('tokens/sampled'):.0f} tokens",
                        flush=True,
                    )
    finally:
        pool.close()
    figures = {lag: {"wall_s": round(median(run.wall_s for run in found), 3)} for lag, found in runs.items()}
    ratio = median(one.wall_s / zero.wall_s for zero, one in zip(runs[0], runs[1], strict=True))
    oldest = max(row["rollout/policy_lag_max"] for run in runs[1] for row in run.rows)
    print(f"with lag 1 the run takes {ratio:.2f} times as long (median of {args.rounds}); oldest token: {oldest:.0f}")
    print_figures(
        "overlap",
        ours={**figures[1], "updates_s": round(median(map(updates_s, runs[1])), 3), "oldest_lag": oldest},
        peer={**figures[0], "updates_s": round(median(map(updates_s, runs[0])), 3)},
        targets={"wall_time_ratio": [round(ratio, 3), "<= 0.75", ratio <= 0.75], "lag": [oldest, "<= 1", oldest <= 1]},
    )


def updates_s(run: Run) -> float:
    """Of one batch: its updates and the measuring of the gap before them."""
    return sum(run.mean(f"time/{name}_s") for name in ("update_retrieval", "update_execution", "gap"))


if __name__ == "__main__":
    main()
