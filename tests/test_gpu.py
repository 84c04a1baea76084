"""What only a GPU can show: the index, the engine and the loop there. Skipped where there is none."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch

from rollout.broadcast import BroadcastGroup, CallStore
from rollout.config import ModelConfig, RolloutConfig
from rollout.engine import GenerationRequest
from rollout.policy import load_model
from rollout.ray_broadcast import backend_of
from rollout.ray_pool import RayPool
from rollout.transformers_engine import TransformersEngine
from rollout.types import Sampling
from tests.test_broadcast import BROADCAST, Values, opened
from tests.test_quickstart import SMALL, finished, metrics_of
from tests.test_ray_pool import collect, tasks, update
from tests.test_vector_index import QUERIES, by_hand, index
from train.nano.base import base_path

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
FAISS_GPU = pytest.mark.skipif(
    not hasattr(faiss, "StandardGpuResources"), reason="needs a GPU and faiss-gpu in place of faiss-cpu"
)


@FAISS_GPU
@pytest.mark.parametrize("kind", ["flat", "ivfpq"])
@pytest.mark.parametrize("removed", [0, 100])
def test_the_gpu_finds_what_the_cpu_finds(kind: str, removed: int) -> None:
    options: dict[str, Any] = {} if kind == "flat" else {"ivf_probes": 32}
    holes = tuple(by_hand(QUERIES[0], removed))
    on_gpu, on_cpu = index(kind, gpu=True, **options), index(kind, **options)
    assert "Gpu" in type(on_gpu._index).__name__
    pairs = zip(on_gpu.search(QUERIES, 5, holes), on_cpu.search(QUERIES, 5, holes), strict=True)
    shares = []
    for (left, left_scores), (right, _) in pairs:
        assert not {*left.tolist()} & {*holes}
        assert list(left_scores) == sorted(left_scores, reverse=True)
        shares.append(len({*left.tolist()} & {*right.tolist()}) / 5)
    assert np.mean(shares) >= (1.0 if kind == "flat" else 0.95)


@FAISS_GPU
def test_more_holes_than_a_gpu_returns_results_are_seen_through() -> None:
    holes = tuple(by_hand(QUERIES[0], 3_000))
    ((slots, _),) = index("flat", gpu=True).search(QUERIES[:1], 5, holes)
    assert slots.tolist() == by_hand(QUERIES[0], 5, holes)


@pytest.mark.parametrize("lora", [False, True])
def test_the_engine_samples_what_a_forward_pass_on_the_gpu_says(lora: bool) -> None:
    """Greedy turns of ragged prompts, a second turn on the kept cache among them, and their log-probs."""
    model = load_model(base_path(), ModelConfig(lora=lora)).to("cuda")
    engine = TransformersEngine(model, stop_ids=[], config=RolloutConfig(max_concurrent=8))
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(256, 2000, (20 + 13 * row,), generator=generator).tolist() for row in range(8)]

    async def turns() -> list[tuple[list[int], list[float], int]]:
        async def one(row: int) -> tuple[list[int], list[float], int]:
            ids, found = list(prompts[row]), []
            for _ in range(2):
                request = GenerationRequest(
                    session=str(row), ids=tuple(ids), sampling=Sampling(temperature=1.0, max_new_tokens=24), seed=row
                )
                completion = await engine.generate(request)
                found.append((len(ids), completion))
                ids += [*completion.ids, 300, 301]
            begin, last = found[-1]
            return ids[:-2], list(last.logprobs), begin

        return list(await asyncio.gather(*(one(row) for row in range(8))))

    for ids, logprobs, begin in asyncio.run(turns()):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids], device="cuda")).logits[0, begin - 1 : -1].float()
        expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[begin:], device="cuda")[:, None])[:, 0]
        assert logprobs == pytest.approx(expected.tolist(), abs=1e-3)
        assert np.mean(np.abs(np.array(logprobs) - expected.cpu().numpy())) < 1e-4


ALL_WEIGHTS = ("rollout.workers=2", "rollout.gpus_per_worker=0.5", "rollout.placement=colocated")
AS_IN_THE_PRESETS = (
    "rollout.workers=1",
    "rollout.gpus_per_worker=1",
    "rollout.placement=colocated",
    "model.lora=true",
    "model.dtype=bfloat16",
    "model.gradient_checkpointing=true",
    "grpo.ratio=recompute",
)


@pytest.mark.parametrize("options", [ALL_WEIGHTS, AS_IN_THE_PRESETS], ids=["all weights", "LoRA in bfloat16"])
def test_the_loop_runs_where_trainer_and_workers_share_a_gpu(options: tuple[str, ...], tmp_path: Path) -> None:
    finished("quickstart", *SMALL, *options, "sft.tasks=600", "name=gpu", "grpo.max_steps=3", folder=tmp_path)
    rows = metrics_of(tmp_path / "gpu")
    assert len(rows) == 3
    assert any(row["update/skipped_retrieval"] == 0 for row in rows)
    for row in rows:
        assert row["engine/gap_mean"] < (1e-5 if options is ALL_WEIGHTS else 0.05)
    assert torch.cuda.get_device_name() in (tmp_path / "gpu" / "manifest.json").read_text()


def test_weights_are_broadcast_by_gloo_to_workers_that_share_the_trainers_gpu() -> None:
    torch.ones(1, device="cuda")  # the trainer is there
    rollout = replace(BROADCAST.rollout, workers=2, gpus_per_worker=0.5, placement="colocated")
    assert backend_of(rollout) == "gloo"
    with opened(replace(BROADCAST, rollout=rollout), update(1)) as pool:  # sees to it that it was by broadcast
        assert {status.policy_version for status in pool.statuses()} == {1}
        assert [found.task.id for found in collect(pool, tasks(3))] == [task.id for task in tasks(3)]


def test_nccl_takes_a_group_beside_the_processs_own() -> None:
    store = CallStore(Values(), timeout_s=60)
    group = BroadcastGroup(store, rank=0, size=1, backend="nccl", host="127.0.0.1", timeout_s=60)
    for _ in range(2):
        group.send({"a": torch.ones(40 << 20), "b": torch.ones(3, dtype=torch.bfloat16)})  # three buckets
    group.abort()


def test_what_nccl_refuses_goes_through_the_object_store(caplog: pytest.LogCaptureFixture) -> None:
    """Two ranks on one GPU: a real failure of NCCL, which must not end the trainer's process."""
    rollout = replace(BROADCAST.rollout, workers=1, gpus_per_worker=1.0)
    assert backend_of(rollout) == "nccl"
    pool = RayPool(replace(BROADCAST, rollout=rollout))
    try:
        with caplog.at_level(logging.WARNING):
            pool.push(update(1))
        assert "weights 1 could not be broadcast" in caplog.text
        assert {status.policy_version for status in pool.statuses()} == {1}
    finally:
        pool.close()
