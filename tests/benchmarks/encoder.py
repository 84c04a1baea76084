"""An encoder fine-tuned on some groups of tasks against the untrained one, on the groups that were left out.

Groups are left out in turn, in `--folds` trainings: with 3, two of StableToolBench's six at a time, which is less to
learn from than leaving out one, and half the work. What `--out` holds already is not trained again.

  python -m tests.benchmarks.encoder --data FOLDER --out FOLDER training.epochs=2 retriever.document=default
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from configs.load import load_config
from configs.schema import EncoderRunConfig
from envs.datasets.stabletoolbench import read_stabletoolbench
from retriever.build import build_index
from retriever.catalogue import Catalogue
from retriever.config import RetrieverConfig
from retriever.encoder_training import MEASURE, train_encoder
from retriever.evaluation import LabelledQuery, by_group, score_queries
from tests.benchmarks.timing import print_figures

GAIN = 6.0  # points of NDCG@5, on the mean of the groups left out


def scores(config: RetrieverConfig, catalogue: Catalogue, queries: Sequence[LabelledQuery]) -> dict[str, float]:
    """group → NDCG@5 in points, of a search by meaning alone."""
    groups = by_group(score_queries(build_index(replace(config, kind="dense"), catalogue), queries))
    return {group: 100 * measures[MEASURE].mean for group, measures in groups.items()}


def main() -> None:
    """Train, print a line a group and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="StableToolBench's folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the encoders are written")
    parser.add_argument("--folds", type=int, default=6, help="how many trainings (default: %(default)s)")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="training.epochs=2, retriever.document=default …"
    )
    args = parser.parse_args()
    config = load_config(EncoderRunConfig, None, args.settings)
    bench = read_stabletoolbench(args.data)
    queries = [
        LabelledQuery(text=task.instruction, gold=task.gold_tools, group=task.tags[0])
        for task in bench.tasks
        if task.gold_tools
    ]
    groups = sorted({query.group for query in queries})
    before = scores(config.retriever, bench.catalogue, queries)
    after: dict[str, float] = {}
    for fold in range(args.folds):
        left_out = groups[fold :: args.folds]
        hidden = {query.text for query in queries if query.group in left_out}
        out = args.out / "-".join(left_out)
        if not out.exists():
            train_encoder(
                config.retriever,
                catalogue=bench.catalogue,
                queries=[query for query in queries if query.text not in hidden],
                config=config.training,
                out=out,
                seed=config.seed,
                log=lambda step, steps, metrics: print(f"  {step}/{steps} {dict(metrics)}", flush=True),
            )
        asked = [query for query in queries if query.group in left_out]
        reached = scores(replace(config.retriever, encoder=str(out), pooling="model"), bench.catalogue, asked)
        for group in left_out:
            after[group] = reached[group]
            print(f"{group:16} {before[group]:5.1f} → {after[group]:5.1f}", flush=True)
    gain = mean(after[group] - before[group] for group in groups)
    print(f"mean of {len(groups)} groups left out: {mean(before[g] for g in groups):.1f} → {mean(after.values()):.1f}")
    print_figures(
        "encoder",
        ours={group: round(value, 1) for group, value in after.items()},
        peer={group: round(before[group], 1) for group in after},
        targets={"gain": [round(gain, 2), f"≥ {GAIN:g}", gain >= GAIN]},
    )


if __name__ == "__main__":
    main()
