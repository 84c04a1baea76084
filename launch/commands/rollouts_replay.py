"""Play recorded tokens through the real environment once more, and tell what is no longer the same.

Nothing is sampled: each turn's recorded tokens are read, searched and called with as they were then. Compared bit for
bit are prompts, messages, searches, calls with their results, observations, stop reasons and rewards; not compared are
times, and whether a record served a call. So tools that answer differently each time are found, and what a change of
catalogue, retriever, rules or tokenizer does. Episodes that were lost to failures of ours are left out.

With --model, that model's own log-probs of the recorded tokens are compared too, by one forward pass each: its gap to
the recorded ones. They are those of the weights that played: of batch 1, the policy that the run started from.

The exit code is 0 when all is the same, and 1 when anything differs.

examples:
  toolscout rollouts replay runs/quickstart --batch 1 --model runs/quickstart/checkpoints/sft
  toolscout rollouts replay runs/quickstart --batch 3 --episode train-7/x0
  toolscout rollouts replay runs/quickstart/evaluation/rl/held_out.jsonl.gz --model runs/quickstart/checkpoints/rl
"""

import argparse

from launch.arguments import add_record_arguments, split_records


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is replayed, and against what."""
    add_record_arguments(parser, overrides="executor.record.policy=replay_only, retriever.kind=bm25")
    parser.add_argument("--batch", type=int, metavar="N", help="this generation batch alone, counted from 1")
    parser.add_argument("--episode", metavar="ID", help="tell of this episode alone; its whole group is played")
    parser.add_argument("--model", metavar="PATH", help="also compare this model's log-probs: a folder or Hub name")
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="NATS",
        help="largest difference of a log-prob that passes (default: the run's grpo.max_engine_gap)",
    )


def run(args: argparse.Namespace) -> int:
    """0: all is the same; 1: something differs."""
    from launch import replaying

    places, overrides = split_records(args)
    return replaying.replay(
        places,
        overrides,
        config=args.config,
        batch=args.batch,
        episode=args.episode,
        model=args.model,
        tolerance=args.tolerance,
    )
