"""Evaluate model.path on the evaluation splits of a config: greedily, or as evaluation.temperature, top_p, top_k,
min_p and stop say. Writes to output_dir/name-eval.

With --server it is the model of an OpenAI-compatible server instead; model.path then gives the tokenizer that counts.
"""

import argparse
import json

from launch import in_run_folder
from launch.run_folder import RunFolder
from retriever.base.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The config is required; the model is its model.path, or a server's."""
    in_run_folder.add_arguments(parser, default=None)
    parser.add_argument("--server", metavar="URL", help="its address up to the version: http://127.0.0.1:8000/v1")
    parser.add_argument("--model", metavar="NAME", help="what the server calls the model")
    parser.add_argument("--key-variable", metavar="NAME", help="the environment variable that holds the server's key")


def run(args: argparse.Namespace) -> int:
    """Exit code of the evaluation."""
    args.settings = [*args.settings, *_server_overrides(args)]
    return in_run_folder.run_in_folder(args, job="eval", work=_work, suffix="-eval", numbered=True)


def _server_overrides(args: argparse.Namespace) -> list[str]:
    """What --server and its companions stand for. Raises UserError for one without the other."""
    if args.server is None:
        if args.model or args.key_variable:
            raise UserError("--model and --key-variable go with --server URL; a folder or Hub name is model.path=…")
        return []
    if args.model is None:
        raise UserError("--server needs --model NAME, what the server calls the model")
    named = {"base_url": args.server, "model": args.model, "api_key_variable": args.key_variable}
    return ["rollout.engine=openai", *(f"rollout.server.{key}={json.dumps(value)}" for key, value in named.items())]


def _work(run: RunFolder) -> None:
    from launch import pipeline

    pipeline.evaluate(run)
