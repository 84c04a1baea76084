"""Loading and saving policies; the only module that knows PEFT. Safetensors only, and no remote code."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from retriever.base.bars import without_bars
from retriever.base.errors import UserError
from rollout.config import ModelConfig


def load_tokenizer(path: str) -> Any:
    """The tokenizer of a model folder or Hub name. Raises UserError when there is none."""
    with _told(f"model.path={path}: no tokenizer could be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        if len(tokenizer) < 2:  # made up from config.json alone
            raise ValueError("there are no tokenizer files")
    return tokenizer


def load_model(path: str, config: ModelConfig) -> Any:
    """The model of a folder or Hub name, wrapped in LoRA when the config says so, on CPU.

    A folder with a LoRA adapter is loaded with it merged. Raises UserError for what cannot be loaded, such as a
    checkpoint whose tensors do not fit its architecture.
    """
    if (Path(path) / "adapter_config.json").is_file():
        with _told(f"model.path={path}: the adapter cannot be loaded"):
            adapter = LoraConfig.from_pretrained(path)
            base = _load_plain(str(adapter.base_model_name_or_path), config)
            wrapped = PeftModel(base, adapter)
            found = wrapped.load_adapter(path, adapter_name="default", use_safetensors=True)
            if wrong := [*found.missing_keys, *found.unexpected_keys]:  # which PEFT passes over
                raise ValueError(f"it is of another architecture than its base, e.g. in {wrong[0]}")
            model = wrapped.merge_and_unload()
    else:
        model = _load_plain(path, config)
    if config.gradient_checkpointing:  # at work in training mode only: an engine does not notice
        model.activation_checkpointing_enable({"use_reentrant": False})
    if not config.lora:
        return model
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules=list(config.lora_targets),
        lora_dropout=0.0,  # dropout would make the trainer's log-probs differ from the engine's
        task_type="CAUSAL_LM",
    )
    targets = f"model.lora_targets={','.join(config.lora_targets)}: the model at {path} cannot be adapted there"
    with _told(targets), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a run, its resumption and every rank begin with the same adapter
        return get_peft_model(model, lora)


def trainable(model: Any) -> dict[str, Tensor]:
    """The parameters that training changes and workers need: all of them, or the adapter's."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def merged(model: Any) -> Any:
    """The model without LoRA wrapping, the adapter's change added to its weights."""
    return model.merge_and_unload() if isinstance(model, PeftModel) else model


def load_trainable(model: Any, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy `tensors` into the model. Raises UserError when they are another architecture's."""
    own = trainable(model)
    if own.keys() != tensors.keys() or any(own[name].shape != tensor.shape for name, tensor in tensors.items()):
        raise UserError(f"{source} holds another architecture than model.path; give the checkpoint's own model")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def _load_plain(path: str, config: ModelConfig) -> Any:
    bars = without_bars() if Path(path).is_dir() else nullcontext()  # one that is fetched takes long
    with bars, _told(f"model.path={path}: cannot be loaded as a causal LM"):
        shape = AutoConfig.from_pretrained(path, trust_remote_code=False)
        model, info = AutoModelForCausalLM.from_pretrained(
            path,
            config=shape,
            dtype=getattr(torch, config.dtype),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below, in one line
        )
    wrong = sorted(str(key) for kind in ("missing", "mismatched", "unexpected") for key in info[f"{kind}_keys"])
    if wrong:
        raise UserError(
            f"model.path={path}: the weights are of another architecture than config.json "
            f"({len(wrong)} tensors differ, e.g. {wrong[0]}); give a folder whose config.json belongs to its weights"
        )
    return model


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say in one line what went wrong. Given files of another kind, libraries raise whatever they like."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        raise UserError(f"{what} ({' '.join(str(error).split())[:200] or type(error).__name__})") from None
