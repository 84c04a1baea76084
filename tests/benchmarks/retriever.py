"""The retriever side by side with the design that others ship, by hand: python -m tests.benchmarks.retriever --help.

service   queries/s and latency at 1, 16 and 64 clients, against handlers that take one request at a time
size      time, recall against flat, memory and build time of flat, HNSW and IVF-PQ from 2,490 tools to a million
change    time until one tool more or less is searched, in a catalogue of 100,000

The last line printed is JSON: {"benchmark", "ours", "peer", "targets"}.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Response
from numpy.typing import NDArray

from envs.datasets.stabletoolbench import read_stabletoolbench
from retriever.build import build_index
from retriever.catalogue import Catalogue
from retriever.config import IndexConfig, RetrieverConfig
from retriever.documents import document_template
from retriever.encoder import PACKAGED, encoder_folder, load_encoder
from retriever.live import LiveRetriever
from retriever.sentences import sentences
from retriever.service import RetrieveRequest, ServiceConfig, listening, make_app, passages
from retriever.tools import ToolDoc
from retriever.vector_index import VectorIndex
from retriever.vectors import encode_documents
from tests.benchmarks.timing import ROUNDS, print_figures

K = 5
DENSE = RetrieverConfig(kind="dense", document="toolbench", query_cache_size=0)


# --- the service ---


def as_shipped(catalogue: Catalogue, cache: Path) -> FastAPI:
    """The peer, written as servers of search agents are: the handler encodes with the library's own call, and searches.

    One request at a time: what a synchronous handler comes to that many threads do not fight over.
    """
    import faiss

    from retriever.sentence_api import SentenceTransformer

    model = SentenceTransformer(str(encoder_folder(PACKAGED)), device="cpu")
    documents = catalogue.documents(document_template(DENSE.document))
    vectors = encode_documents(documents, load_encoder(PACKAGED), cache_dir=cache)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    tools = [tool.to_dict() for tool in catalogue]
    app = FastAPI()

    async def retrieve(request: RetrieveRequest) -> dict[str, Any]:
        encoded = model.encode(request.queries, normalize_embeddings=True, show_progress_bar=False)
        scores, places = index.search(encoded, request.topk or K)
        return {
            "result": [
                [{"document": tools[place], "score": score} for place, score in zip(*row, strict=True)]
                for row in zip(places.tolist(), scores.tolist(), strict=True)
            ]
        }

    app.add_api_route("/retrieve", retrieve, methods=["POST"])
    return app


def one_at_a_time(catalogue: Catalogue, cache: Path) -> FastAPI:
    """The same design with our own encoder, search and answers: what is left is what batching gives."""
    retriever = build_index(_cached(DENSE, cache), catalogue)
    app = FastAPI()

    async def retrieve(request: RetrieveRequest) -> Response:
        return passages(retriever.search(request.queries, request.topk or K), scores=request.return_scores)

    app.add_api_route("/retrieve", retrieve, methods=["POST"])
    return app


def ours(catalogue: Catalogue, cache: Path) -> FastAPI:
    """The service, as `toolscout retriever serve TOOLS.jsonl retriever.dtype=bfloat16` makes it."""
    return _service(replace(DENSE, dtype="bfloat16"), catalogue, cache)


def float32(catalogue: Catalogue, cache: Path) -> FastAPI:
    """The service with the encoder's products in float32, as the peer has them."""
    return _service(DENSE, catalogue, cache)


def _service(config: RetrieverConfig, catalogue: Catalogue, cache: Path) -> FastAPI:
    live = LiveRetriever(catalogue, lambda tools: build_index(_cached(config, cache), tools))
    return make_app(live, ServiceConfig(timeout_s=60))


@contextmanager
def serving(make: Callable[[Catalogue, Path], FastAPI], folder: Path, cache: Path) -> Iterator[str]:
    """The address of an app in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with listening("127.0.0.1", 0) as taken:
        ready = context.Event()
        process = context.Process(target=_serve, args=(make, folder, cache, taken, ready), daemon=True)
        process.start()
        assert ready.wait(300), "the service did not start"
        try:
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        finally:
            process.terminate()
            process.join()


def _serve(make: Callable[[Catalogue, Path], FastAPI], folder: Path, cache: Path, taken: Any, ready: Any) -> None:
    app = make(read_stabletoolbench(folder).catalogue, cache)
    ready.set()
    uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run(sockets=[taken])


async def _load(url: str, queries: Sequence[str], clients: int) -> tuple[float, list[float]]:
    """Seconds in all, and of each request. Plain sockets: a library's client would take as long as the search."""
    left = list(queries)
    seconds: list[float] = []
    host, port = url.removeprefix("http://").split(":")

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while left:
            asked = json.dumps({"queries": [left.pop()], "topk": K, "return_scores": True}).encode()
            head = f"POST /retrieve HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            started = time.perf_counter()
            writer.write(f"{head}content-length: {len(asked)}\r\n\r\n".encode() + asked)
            answered = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            body = await reader.readexactly(int(answered.split("content-length: ")[1].split("\r\n")[0]))
            seconds.append(time.perf_counter() - started)
            assert answered.startswith("http/1.1 200"), answered
            assert body.count(b'"score"') == K, body[:200]
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return time.perf_counter() - started, seconds


def measure_service(folder: Path, cache: Path) -> dict[str, Any]:
    """Medians over rounds, the two in turn; no query comes twice."""
    texts = [part for task in read_stabletoolbench(folder).tasks for part in sentences(task.instruction)]
    draws = random.Random(0)
    makers = {"ours": ours, "float32": float32, "peer": as_shipped, "one_at_a_time": one_at_a_time}
    figures: dict[str, dict[str, float]] = {name: {} for name in makers}
    with ExitStack() as running:
        urls = {name: running.enter_context(serving(make, folder, cache)) for name, make in makers.items()}
        for clients in (1, 16, 64):
            count = 64 if clients == 1 else 384
            rates: dict[str, list[float]] = {name: [] for name in makers}
            latencies: dict[str, list[float]] = {name: [] for name in makers}
            for number in range(ROUNDS + 1):
                for name, url in urls.items():
                    queries = [f"{draws.choice(texts)} {draws.randrange(10**6)}" for _ in range(count)]
                    took, seconds = asyncio.run(_load(url, queries, clients))
                    if number:  # the first round warms up
                        rates[name].append(count / took)
                        latencies[name] += seconds
            for name in makers:
                p50, p99 = np.percentile(latencies[name], [50, 99]) * 1000
                figures[name] |= {
                    f"queries_per_s_at_{clients}": round(median(rates[name]), 1),
                    f"p50_ms_at_{clients}": round(float(p50), 1),
                    f"p99_ms_at_{clients}": round(float(p99), 1),
                }
                print(f"{clients:3} clients, {name:14} {figures[name]}", flush=True)
    ratio = figures["ours"]["queries_per_s_at_64"] / figures["peer"]["queries_per_s_at_64"]
    p99, peer_p50 = figures["ours"]["p99_ms_at_64"], figures["peer"]["p50_ms_at_64"]
    for side, variant in (("ours", "float32"), ("peer", "one_at_a_time")):
        figures[side] |= {f"{variant}_{figure}": value for figure, value in figures.pop(variant).items()}
    return {
        **figures,
        "targets": {
            "queries_per_s_ratio_at_64": [round(ratio, 2), "≥ 3", ratio >= 3],
            "p99_ms_at_64": [p99, f"< {peer_p50}, the peer's median", p99 < peer_p50],
        },
    }


# --- the size of the catalogue ---


def grown(real: NDArray[np.float32], count: int, seed: int = 0) -> NDArray[np.float32]:  # [R, D] -> [count, D]
    """The real vectors and perturbed copies: among all of them the nearest is as near as among the real."""
    if count <= len(real):
        return real[:count]
    target = _nearest_cosine(real[:500], [real])
    low, high = 0.0, 2.0
    for _ in range(8):  # the larger the noise, the farther the nearest
        scale = (low + high) / 2
        probe = next(_copies(real, 100, scale, seed + 1))
        near = _nearest_cosine(probe, chain([real], _copies(real, count - len(real), scale, seed)))
        low, high = (scale, high) if near > target else (low, scale)
    result = np.empty((count, real.shape[1]), dtype=np.float32)
    result[: len(real)] = real
    filled = len(real)
    for block in _copies(real, count - len(real), high, seed):
        result[filled : filled + len(block)] = block
        filled += len(block)
    reached = _nearest_cosine(result[-100:], [result])
    print(f"{count} vectors: the nearest at {reached:.3f} in the mean, of the real at {target:.3f}", flush=True)
    return result


def _copies(real: NDArray[np.float32], count: int, scale: float, seed: int) -> Iterator[NDArray[np.float32]]:
    """`count` perturbed copies, a block at a time."""
    random_ = np.random.default_rng(seed)
    for start in range(0, count, 50_000):
        rows = min(50_000, count - start)
        noise = random_.standard_normal((rows, real.shape[1]), dtype=np.float32) * (scale / real.shape[1] ** 0.5)
        made = real[random_.integers(len(real), size=rows)] + noise
        yield made / np.linalg.norm(made, axis=1, keepdims=True)


def _nearest_cosine(some: NDArray[np.float32], blocks: Iterable[NDArray[np.float32]]) -> float:
    """The cosine of the nearest that is not the same, in the mean of `some`."""
    best = np.full(len(some), -1.0, dtype=np.float32)
    for block in blocks:
        cosines = some @ block.T
        cosines[cosines > 1 - 1e-5] = -1
        best = np.maximum(best, cosines.max(axis=1))
    return float(best.mean())


def measure_size(folder: Path, cache: Path, sizes: Sequence[int]) -> dict[str, Any]:
    """One query at a time, the 765 real ones. An index is built in one process and searched in another, which reads it.

    "resident" is all that the searching process takes, Python and libraries too; "own" leaves out pages of mapped
    files, which the system takes back when it needs them.
    """
    started = time.perf_counter()
    bench = read_stabletoolbench(folder)
    encoder = load_encoder(PACKAGED)
    real = encode_documents(bench.catalogue.documents(document_template("toolbench")), encoder, cache_dir=cache)
    queries = cache / "queries.npy"
    np.save(queries, encode_documents([task.instruction for task in bench.tasks], encoder, cache_dir=cache))
    result: dict[str, Any] = {"ours": {}, "peer": {}, "targets": {}}
    for size in sizes:
        vectors = cache / f"grown-{size}.npy"
        np.save(vectors, grown(real, size))
        exact: list[list[int]] = []
        for kind in ("flat", "hnsw", "ivfpq"):
            settings = IndexConfig(kind=kind)
            built_s = _apart(_build_index, vectors, settings, cache)
            found, milliseconds, resident, own = _apart(_search_index, vectors, settings, cache, queries)
            exact = exact or found
            recall = float(np.mean([len({*a} & {*b}) / K for a, b in zip(found, exact, strict=True)]))
            figures = {
                f"{kind}_{size}_ms": round(median(milliseconds), 3),
                f"{kind}_{size}_recall": round(recall, 4),
                f"{kind}_{size}_build_s": round(built_s, 1),
                f"{kind}_{size}_resident_mb": round(resident / 1e6),
                f"{kind}_{size}_own_mb": round(own / 1e6),
            }
            result["peer" if kind == "flat" else "ours"].update(figures)
            print(figures, flush=True)
            if size == 1_000_000 and kind != "flat":
                took = median(milliseconds)
                result["targets"][f"{kind}_1m"] = [
                    [round(took, 2), round(recall, 3), round(own / 1e9, 2)],
                    "< 10 ms, recall ≥ 0.95, < 3 GB",
                    took < 10 and recall >= 0.95 and own < 3e9,
                ]
    minutes = (time.perf_counter() - started) / 60
    result["targets"]["size_minutes"] = [round(minutes, 1), "< 20", minutes < 20]
    return result


def _apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """In a process of its own, whose memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _build_index(vectors: Path, settings: IndexConfig, cache: Path) -> float:
    started = time.perf_counter()
    VectorIndex(np.load(vectors, mmap_mode="r"), settings, cache_dir=cache)
    return time.perf_counter() - started


def _search_index(
    vectors: Path, settings: IndexConfig, cache: Path, queries: Path
) -> tuple[list[list[int]], list[float], int, int]:
    """Slots and milliseconds of each query; bytes that are resident, and those that are the process's own."""
    index = VectorIndex(np.load(vectors, mmap_mode="r"), settings, cache_dir=cache)
    found, milliseconds = [], []
    for query in np.load(queries):
        started = time.perf_counter()
        ((slots, _),) = index.search(query[None], K)
        milliseconds.append(1000 * (time.perf_counter() - started))
        found.append(slots.tolist())
    return found, milliseconds, _bytes("VmRSS"), _bytes("RssAnon")


def _bytes(name: str) -> int:
    """A line of this process's status, in bytes."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


# --- changes ---


def measure_change(folder: Path, cache: Path) -> dict[str, Any]:
    """One tool more, and one less, in 100,000: until a search shows it. The peer builds both of its indexes anew.

    The encoder's own time, a forward pass for one short text, is told apart: it depends on the model alone.
    """
    bench = read_stabletoolbench(folder)
    tools = list(bench.catalogue)
    draws = random.Random(0)
    many = [
        ToolDoc(
            id=f"{number}",
            name=draws.choice(tools).name,
            description=f"{draws.choice(tools).description} {number}",
            parameters={"type": "object"},
        )
        for number in range(100_000)
    ]
    config = _cached(RetrieverConfig(kind="hybrid"), cache)
    encoder = load_encoder(PACKAGED)
    spread = _Spread(encoder, bench.catalogue.documents(document_template("toolbench")))
    started = time.perf_counter()
    live = LiveRetriever(Catalogue.of(many), lambda catalogue: build_index(config, catalogue, encoder=spread))
    built_s = time.perf_counter() - started
    spread.bulk = False
    added, encoded, removed = [], [], []
    for number in range(ROUNDS * 4):
        new = ToolDoc(id=f"new-{number}", name="zither", description=f"Tune a zither {number}", parameters={})
        started = time.perf_counter()
        live.add([new])
        encoded.append(1000 * spread.last_s)
        added.append(1000 * (time.perf_counter() - started) - encoded[-1])
        assert new.id in {one.tool.id for one in live.search(["tune a zither"], 50)[0]}
        started = time.perf_counter()
        live.remove([new.id])
        removed.append(1000 * (time.perf_counter() - started))
        assert new.id not in {one.tool.id for one in live.search(["tune a zither"], 50)[0]}
    mine = {"add_ms": round(median(added), 2), "remove_ms": round(median(removed), 2)}
    encoding = {"encode_one_ms": round(median(encoded), 2)}
    print(mine, encoding, f"a build takes {built_s:.0f} s", flush=True)
    return {
        "ours": mine | encoding,
        "peer": {"build_anew_s": round(built_s, 1)},
        "targets": {name: [value, "< 5 ms", value < 5] for name, value in mine.items()},
    }


class _Spread:
    """The real encoder for what is added; for the 100,000, vectors of real tools over and over, which is faster."""

    def __init__(self, encoder: Any, documents: Sequence[str]) -> None:
        self._encoder, self._vectors = encoder, encoder.encode(documents[:500])
        self.fingerprint, self.bulk = "spread", True
        self.last_s = 0.0  # of the last text that was really encoded

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not self.bulk:
            started = time.perf_counter()
            vectors = self._encoder.encode(texts)
            self.last_s = time.perf_counter() - started
            return vectors
        return np.resize(self._vectors, (len(texts), self._vectors.shape[1])).astype(np.float32)


def _cached(config: RetrieverConfig, cache: Path) -> RetrieverConfig:
    return replace(config, cache_dir=None if config.kind == "hybrid" else str(cache))


def main() -> None:
    """Run what is asked for and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="StableToolBench's folder")
    parser.add_argument("--only", choices=("service", "size", "change"), action="append")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_490, 16_000, 100_000, 1_000_000])
    parser.add_argument("--cache", type=Path, help="folder for vectors and indexes (default: a temporary one)")
    args = parser.parse_args()
    result: dict[str, dict[str, Any]] = {"ours": {}, "peer": {}, "targets": {}}
    with tempfile.TemporaryDirectory() as temporary:
        cache = args.cache or Path(temporary)
        cache.mkdir(parents=True, exist_ok=True)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "service": lambda: measure_service(args.data, cache),
            "size": lambda: measure_size(args.data, cache, args.sizes),
            "change": lambda: measure_change(args.data, cache),
        }
        for name in args.only or parts:
            for section, figures in parts[name]().items():
                result[section] |= figures
    print_figures("retriever", **result)


if __name__ == "__main__":
    main()
