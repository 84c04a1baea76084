"""vLLM at the other end of a socket: tokens in, tokens and log-probs out, one JSON object a line.

`rollout/vllm_link.py` starts it with the interpreter of vLLM's own environment, so it imports nothing of the house but
`rollout.weights`. Its standard input is the socket; whatever libraries print goes to standard error. It ends when the
socket closes, that is, when whoever started it is gone, however that came about. Not a server for anybody else.

An error in one request is that request's answer. An error in a step is the end of the process.
"""

import json
import os
import shutil
import socket
import tempfile
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TextIO, get_args

from safetensors.torch import load_file, save_file
from torch import Tensor
from vllm import EngineArgs, LLMEngine, RequestOutput, SamplingParams
from vllm.config.lora import MaxLoRARanks
from vllm.lora.request import LoRARequest
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.platforms import current_platform

from rollout.weights import weights_hash

_CPU_BLOCK = 32  # tokens of a cache block, the smallest that the CPU kernels take; 128, the default, shares little
_ADAPTER = 1  # the one adapter's id: a newer version takes its place


def main() -> None:
    """Serve the socket on standard input until it closes."""
    link = socket.socket(fileno=os.dup(0))
    replies = link.makefile("w", encoding="utf-8")
    requests = link.makefile("r", encoding="utf-8")
    inbox: SimpleQueue[dict[str, Any]] = SimpleQueue()
    first = requests.readline()
    if not first:
        return
    settings = json.loads(first)
    threading.Thread(target=_read, args=(requests, inbox, settings["folder"]), daemon=True).start()
    try:
        server = Server(settings, replies)
        server.say({"id": settings["id"]})
        server.run(inbox)
    except BaseException:  # noqa: BLE001 - threads and caches of libraries could keep an ordinary exit waiting
        traceback.print_exc()
        os._exit(1)


def _read(requests: TextIO, inbox: "SimpleQueue[dict[str, Any]]", folder: str) -> None:
    try:
        for line in requests:
            inbox.put(json.loads(line))
    finally:  # also after half a line, which one that is killed may leave
        shutil.rmtree(folder, ignore_errors=True)  # who made it may have been killed
        os._exit(0)


class Server:
    """One engine, stepped in this thread; between two steps it hears what is asked."""

    def __init__(self, settings: Mapping[str, Any], replies: TextIO) -> None:
        self._replies = replies
        self._settings = settings
        self._adapter: LoRARequest | None = None
        self._engine = LLMEngine.from_engine_args(_engine_args(settings))

    def say(self, reply: Mapping[str, Any]) -> None:
        """Send one line."""
        self._replies.write(json.dumps(reply) + "\n")
        self._replies.flush()

    def run(self, inbox: "SimpleQueue[dict[str, Any]]") -> None:
        """Step while there is anything to do; does not return."""
        while True:
            if not self._engine.has_unfinished_requests():
                self._hear(inbox.get())
            while True:
                try:
                    self._hear(inbox.get_nowait())
                except Empty:
                    break
            for output in self._engine.step():
                if isinstance(output, RequestOutput) and output.finished:
                    self.say(_completion(output))

    def _hear(self, message: Mapping[str, Any]) -> None:
        number = message["id"]
        try:
            if message["op"] == "generate":
                prompt = {"prompt_token_ids": message["ids"]}
                self._engine.add_request(str(number), prompt, _sampling(message), lora_request=self._adapter)
            elif message["op"] == "abort":
                self._engine.abort_request([str(number)])
            else:
                self.say({"id": number, **self._weights(message)})
        except Exception as error:  # noqa: BLE001 - whoever asked must hear of it
            self.say({"id": number, "error": f"{type(error).__name__}: {error}"})

    def _weights(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Load what lies in the shared memory, if its hash is the expected one; tells the hash of what arrived.

        Requests that run go on with the new weights, and all that the old ones computed is computed again.
        """
        tensors = load_file(f"/proc/self/fd/{self._settings['weights_fd']}")
        arrived = weights_hash(tensors)
        if arrived == message["hash"]:
            lora = self._settings["lora"]
            if lora is None:
                self._load(tensors)
            else:
                self._load_adapter(tensors, lora)
            self._engine.reset_prefix_cache(reset_running_requests=True)
        return {"hash": arrived}

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        """All of the model's weights, by the names of its checkpoints."""
        config = self._engine.vllm_config.model_config

        def load(model: Any) -> None:
            initialize_layerwise_reload(model)
            loaded = model.load_weights(iter(tensors.items()))
            finalize_layerwise_reload(model, config)
            # Of two layers that share their weights it packs one alone for its kernel; the other kept the old ones.
            for layer in model.modules():
                if isinstance(layer, VocabParallelEmbedding):
                    layer.quant_method.process_weights_after_loading(layer)
            if missing := sorted({name for name, _ in model.named_parameters()} - loaded)[:3]:
                raise ValueError(f"the update holds nothing for {missing}")

        self._engine.apply_model(load)

    def _load_adapter(self, tensors: Mapping[str, Tensor], lora: Mapping[str, Any]) -> None:
        """The adapter as PEFT would write it, and vLLM reads it."""
        with tempfile.TemporaryDirectory(prefix="toolscout-adapter-") as folder:
            named = {name.replace(".default.", "."): tensor.contiguous() for name, tensor in tensors.items()}
            save_file(named, f"{folder}/adapter_model.safetensors")
            config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", **lora}
            Path(folder, "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
            self._engine.add_lora(LoRARequest("policy", _ADAPTER, folder, load_inplace=True))
            self._adapter = LoRARequest("policy", _ADAPTER, folder)  # found by its id, never read again


def _engine_args(settings: Mapping[str, Any]) -> EngineArgs:
    lora = settings["lora"]
    adapted: dict[str, Any] = {}
    if lora is not None:
        rank = min(allowed for allowed in get_args(MaxLoRARanks) if allowed >= lora["r"])
        adapted = {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1}
    if current_platform.is_cpu():
        adapted["block_size"] = _CPU_BLOCK
    return EngineArgs(
        model=settings["model"],
        dtype=settings["dtype"],
        max_model_len=settings["max_context"],
        max_num_seqs=settings["max_concurrent"],
        gpu_memory_utilization=settings["memory_share"],
        enforce_eager=settings["eager"],
        load_format="safetensors",
        trust_remote_code=False,
        generation_config="vllm",  # nothing of a model's own settings: each request says all
        enable_prefix_caching=True,
        logprobs_mode="processed_logprobs",  # log_softmax(logits / temperature), not of the bare logits
        async_scheduling=False,  # no step is under way while weights change
        disable_log_stats=True,
        seed=0,
        **adapted,
    )


def _sampling(message: Mapping[str, Any]) -> SamplingParams:
    stop = message["stop"]
    return SamplingParams(
        temperature=message["temperature"],
        top_p=message["top_p"],
        top_k=message["top_k"],
        min_p=message["min_p"],
        seed=message["seed"],
        max_tokens=message["max_new_tokens"],
        stop_token_ids=message["stop_ids"],
        ignore_eos=True,  # the ids above end a completion, and nothing else
        logprobs=0,  # of the sampled token
        stop=stop or None,
        detokenize=bool(stop),
        skip_special_tokens=False,
        spaces_between_special_tokens=False,
    )


def _completion(output: RequestOutput) -> dict[str, Any]:
    (sampled,) = output.outputs
    if sampled.finish_reason not in ("stop", "length"):
        return {"id": int(output.request_id), "error": f"ended by {sampled.finish_reason}"}
    ids = list(sampled.token_ids)
    return {
        "id": int(output.request_id),
        "ids": ids,
        "logprobs": [entry[token].logprob for token, entry in zip(ids, sampled.logprobs or (), strict=True)],
        "finish": sampled.finish_reason,
        "cached": output.num_cached_tokens or 0,
    }


if __name__ == "__main__":
    main()
