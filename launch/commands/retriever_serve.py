"""Serve search over a catalogue by HTTP, for many workers or for others' clients.

POST /search, /retrieve (Search-R1's protocol), /tools (add; PUT replaces whole tools by id, DELETE removes, GET gives
them all) and /reload; GET /tools/ID, /catalogue, /health and /metrics. Changes through /tools are kept in memory, and
with --journal on disk; the catalogue's own file is never written.

examples:
  toolscout retriever serve tools.jsonl
  TOOLSCOUT_RETRIEVER_TOKEN=secret toolscout retriever serve tools.jsonl --host 0.0.0.0 retriever.kind=bm25
  JSON='content-type: application/json'
  curl -s 127.0.0.1:8600/search -H "$JSON" -d '{"queries": ["weather in a city"], "k": 3}'
  curl -s 127.0.0.1:8600/retrieve -H "$JSON" -d '{"queries": ["weather"], "topk": 3, "return_scores": true}'
  curl -s 127.0.0.1:8600/tools -H "$JSON" -d '{"tools": [{"id": "a", "name": "a", "description": "Added."}]}'
  curl -s 127.0.0.1:8600/tools -H "$JSON" -X DELETE -d '{"ids": ["a"]}'
"""

import argparse
import os
from pathlib import Path

from retriever.base.errors import UserError
from retriever.config import TOKEN_VARIABLE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is served, and where."""
    parser.add_argument(
        "settings",
        nargs="+",
        metavar="TOOLS.jsonl | key=value",
        help="the catalogue, and settings such as retriever.kind=bm25",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    parser.add_argument("--port", type=int, default=8600, help="port to listen on (default: %(default)s; 0: any free)")
    parser.add_argument(
        "--journal",
        type=Path,
        metavar="FILE.jsonl",
        help="keep changes there, so that a restart goes on with them; a /reload drops them, and a catalogue's file "
        "that was edited meanwhile is not started with before they are dropped",
    )
    parser.add_argument("--window-ms", type=float, metavar="MS", help="how long a query waits for company (default: 2)")
    parser.add_argument(
        "--max-waiting", type=int, metavar="N", help="queries that may wait; beyond: 429 (default: 1024)"
    )
    parser.add_argument("--timeout-s", type=float, metavar="S", help="longest time for a request (default: 10)")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config; read and serve nothing")
    parser.epilog = (
        f"With {TOKEN_VARIABLE} in the environment, every request but /health must carry it as a bearer token."
    )


def run(args: argparse.Namespace) -> int:
    """Exit code of the service, once it is stopped."""
    from configs.load import dump_yaml, is_override

    files = [text for text in args.settings if not is_override(text)]
    if len(files) != 1:
        raise UserError(f"expected one catalogue, got {len(files)}; give the path of a tools.jsonl")
    if not 0 <= args.port <= 65_535:
        raise UserError(f"--port {args.port} is outside 0 to 65535; give e.g. 8600")
    from launch import serving

    config = serving.retriever_config([text for text in args.settings if is_override(text)])
    if args.dry_run:
        print(dump_yaml(config), end="")
        return 0
    given = {"batch_window_ms": args.window_ms, "max_waiting": args.max_waiting, "timeout_s": args.timeout_s}
    limits = {name: value for name, value in given.items() if value is not None}
    token = os.environ.get(TOKEN_VARIABLE) or None
    serving.serve(Path(files[0]), config, host=args.host, port=args.port, token=token, journal=args.journal, **limits)
    return 0
