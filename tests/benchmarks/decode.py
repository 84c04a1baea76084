"""Decoding on a GPU: the engine against `generate` of transformers, its continuous batching, and memory bandwidth.

python -m tests.benchmarks.decode                              Qwen3-4B's shape, random weights, bfloat16
python -m tests.benchmarks.decode --shape nano --batches 1,8   the shipped policy, on whatever device there is
python -m tests.benchmarks.decode --shape FOLDER --dtype bfloat16   any model, with text (our own docs) for prompts

Every side decodes the same number of tokens for the same prompts, greedily; what is timed is the decode steps: a run
with one new token (which is the prefill) is taken off a run with all of them. The floor is the time in which memory can
be read once for all weights and for the keys and values that stand in the cache half-way. `alike`: the share of the
engine's tokens before the first that `generate` chose otherwise; in bfloat16 the two round otherwise and part.
"""

import argparse
import asyncio
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, Qwen3Config

from rollout.config import ModelConfig, RolloutConfig
from rollout.engine import GenerationRequest
from rollout.policy import load_model, load_tokenizer
from rollout.row_cache import token_bytes
from rollout.transformers_engine import TransformersEngine
from rollout.types import Sampling
from tests.benchmarks.timing import print_figures
from train.nano.base import base_path

_RANDOM = "qwen3-4b"  # the shape that has no weights of its own
QWEN3_4B = {
    "hidden_size": 2560,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 9728,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
}


def main() -> None:
    """Print every batch size's rates, then one line of figures."""
    options = _options()
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _model(options, device)
    bandwidth = _bandwidth(device)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(
        f"{options.shape} on {name}, {bandwidth / 1e9:.0f} GB/s, prompts of {options.prompt}, {options.new} new tokens"
    )
    print(
        f"{'batch':>5} {'engine':>9} {'generate':>9} {'cont. b.':>9} {'floor':>9}  tokens/s; "
        "× generate, share of floor, alike"
    )
    rates: dict[str, dict[str, float]] = {"ours": {}, "generate": {}, "continuous": {}, "floor": {}}
    for batch in options.batches:
        prompts = _prompts(batch, options, model.config.vocab_size)
        engine = _engine(model, batch, options)
        found = {
            "ours": _rate(lambda new: _ours(engine, prompts, new), batch, options),  # noqa: B023 - used at once
            "generate": _rate(lambda new: _generate(model, prompts, new), batch, options),  # noqa: B023
        }
        alike = _alike(_ours(engine, prompts, options.new), _generate(model, prompts, options.new))
        engine.release()
        if options.continuous:
            found["continuous"] = _rate(lambda new: _continuous(model, prompts, new), batch, options)  # noqa: B023
            model.destroy_cached_continuous_batching_manager()  # it holds most of a GPU's memory
        held = batch * (options.prompt + options.new / 2) * token_bytes(model.config, model.dtype.itemsize)
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        found["floor"] = batch * bandwidth / (weights + held)
        for side, rate in found.items():
            rates[side][str(batch)] = round(rate, 1)
        print(
            f"{batch:>5} {found['ours']:>9.0f} {found['generate']:>9.0f} {found.get('continuous', 0):>9.0f} "
            f"{found['floor']:>9.0f}  {found['ours'] / found['generate']:.2f}, "
            f"{found['ours'] / found['floor']:.2f}, {alike:.2f}",
            flush=True,
        )
    peers = {side: found for side, found in rates.items() if side != "ours"}
    print_figures("decode", ours=rates["ours"], peer=peers, targets=_targets(rates))


def _targets(rates: dict[str, dict[str, float]]) -> dict[str, list[Any]]:
    targets: dict[str, list[Any]] = {}
    if "64" in rates["ours"]:
        ratio = rates["ours"]["64"] / rates["generate"]["64"]
        targets["times_generate_at_64"] = [round(ratio, 2), "≥ 4", ratio >= 4]
    for batch in ("1", "16"):
        if batch in rates["ours"]:
            share = rates["ours"][batch] / rates["floor"][batch]
            targets[f"share_of_floor_at_{batch}"] = [round(share, 2), "≥ 0.5", share >= 0.5]
    return targets


def _rate(run: Callable[[int], object], batch: int, options: Any) -> float:
    """Decoded tokens per second: medians of runs with all new tokens, less those with one."""
    run(1)
    run(options.new)  # what is compiled, captured or allocated is so by now
    many = statistics.median(_seconds(lambda: run(options.new)) for _ in range(options.repeats))
    one = statistics.median(_seconds(lambda: run(1)) for _ in range(options.repeats))
    return float(batch * (options.new - 1) / (many - one))


def _seconds(run: Callable[[], object]) -> float:
    _wait()
    started = time.perf_counter()
    run()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _engine(model: Any, batch: int, options: Any) -> TransformersEngine:
    length = options.prompt + options.new
    config = RolloutConfig(
        max_concurrent=batch,
        max_context=length,
        max_new_tokens=options.new,
        prefill_tokens=8192,
        deterministic=model.device.type == "cpu",
    )
    return TransformersEngine(model, stop_ids=[], config=config)


def _ours(engine: TransformersEngine, prompts: Sequence[list[int]], new: int) -> list[list[int]]:
    sampling = Sampling(temperature=0.0, max_new_tokens=new)

    async def together() -> list[list[int]]:
        requests = [
            GenerationRequest(session=str(index), ids=tuple(prompt), sampling=sampling, seed=0)
            for index, prompt in enumerate(prompts)
        ]
        completions = await asyncio.gather(*map(engine.generate, requests))
        for request in requests:
            engine.close_session(request.session)
        return [list(completion.ids) for completion in completions]

    return asyncio.run(together())


def _generate(model: Any, prompts: Sequence[list[int]], new: int) -> list[list[int]]:
    ids = torch.tensor(prompts, device=model.device)
    settings = GenerationConfig(max_new_tokens=new, do_sample=False, eos_token_id=None, pad_token_id=0)
    made = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    return [list(completion) for completion in made[:, ids.shape[1] :].tolist()]


def _alike(ours: Sequence[list[int]], theirs: Sequence[list[int]]) -> float:
    """The share of all tokens that stand before the first difference of their completion."""
    pairs = [list(zip(a, b, strict=True)) for a, b in zip(ours, theirs, strict=True)]
    before = sum(next((at for at, (a, b) in enumerate(pair) if a != b), len(pair)) for pair in pairs)
    return before / sum(map(len, pairs))


def _continuous(model: Any, prompts: Sequence[list[int]], new: int) -> None:
    settings = GenerationConfig(max_new_tokens=new, do_sample=False, eos_token_id=-1, pad_token_id=0)
    found = model.generate_batch(list(prompts), generation_config=settings, persistent_manager=True)
    assert all(len(output.generated_tokens) == new for output in found.values()), "continuous batching ended early"


def _prompts(batch: int, options: argparse.Namespace, vocabulary: int) -> list[list[int]]:
    """Text where the model can read, random ids where it cannot."""
    random = Random(0)
    if options.shape in (_RANDOM, "nano"):
        return [[random.randrange(256, vocabulary - 300) for _ in range(options.prompt)] for _ in range(batch)]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path("docs").glob("*.md")))
    ids = load_tokenizer(options.shape)(text)["input_ids"]
    begins = [random.randrange(len(ids) - options.prompt) for _ in range(batch)]
    return [list(ids[begin : begin + options.prompt]) for begin in begins]


def _model(options: argparse.Namespace, device: str) -> Any:
    if options.shape != _RANDOM:
        path = base_path() if options.shape == "nano" else options.shape
        return load_model(path, ModelConfig(dtype=options.dtype)).to(device).eval()
    with torch.device(device):
        return AutoModelForCausalLM.from_config(Qwen3Config(**QWEN3_4B), dtype=torch.bfloat16).eval()


def _bandwidth(device: str) -> float:
    """Bytes per second that a sum over far more than any cache holds reads: the best of ten."""
    numbers = torch.ones(1 << (30 if device == "cuda" else 26), dtype=torch.float32, device=device)
    numbers.sum()
    return numbers.numel() * 4 / min(_seconds(lambda: numbers.sum()) for _ in range(10))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default=_RANDOM, help=f"{_RANDOM} (random weights), nano, or a model's path")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of nano or a path")
    parser.add_argument("--batches", default="1,16,64,128", help="numbers of prompts, with commas")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of each prompt")
    parser.add_argument("--new", type=int, default=128, help="tokens decoded for each")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs, of which the median counts")
    parser.add_argument("--continuous", action="store_true", help="also transformers' continuous batching")
    options = parser.parse_args()
    options.batches = [int(batch) for batch in options.batches.split(",")]
    return options


if __name__ == "__main__":
    main()
