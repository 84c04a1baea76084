"""The fused decoder against the models that it takes its parameters from, on the CPU."""

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config, Qwen3Config

from rollout.forward_passes import Chunk, ForwardPasses
from rollout.fused_decoder import fused_decoder

SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 300,
    "max_position_embeddings": 512,
}
FAMILY = {
    "Qwen3": Qwen3Config(**SHAPE, head_dim=32, tie_word_embeddings=True),
    "Llama": LlamaConfig(**SHAPE),
    "Qwen2, with biases": Qwen2Config(**SHAPE),
}
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONTEXTS = ([1, 2, 3, 4, 3], [7, 8, 9, 10, 11, 12, 4], [5, 6, 7])


def built(config: Any, *, lora: bool) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    if lora:
        model = get_peft_model(
            model, LoraConfig(r=4, lora_alpha=8, target_modules=PROJECTIONS, task_type="CAUSAL_LM")
        ).eval()
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("lora", [False, True], ids=["all weights", "LoRA"])
@pytest.mark.parametrize("config", FAMILY.values(), ids=FAMILY)
def test_decoding_and_prefilling_together_give_the_models_own_logits(config: Any, lora: bool) -> None:
    model = built(config, lora=lora)
    passes = ForwardPasses(model, rows=4, length=64, deterministic=False, graphs=False)
    passes.prefill([Chunk(0, 0, CONTEXTS[0][:-1]), Chunk(1, 0, CONTEXTS[1][:-1])])
    decoder = fused_decoder(passes._network)
    assert decoder is not None
    # One token each of rows 0 and 1; row 2 whole, its last token first.
    ids, positions, rows = torch.tensor([[3, 4, 7, 6, 5], [4, 6, 2, 1, 0], [0, 1, 2, 2, 2]])
    with torch.inference_mode():
        found = decoder.logits(ids, positions, rows, passes._cache, length=16, wanted=3)
        for logits, context in zip(found, CONTEXTS, strict=True):
            torch.testing.assert_close(logits, model(input_ids=torch.tensor([context])).logits[0, -1])


@pytest.mark.parametrize("lora", [False, True], ids=["all weights", "LoRA"])
def test_new_weights_are_computed_with(lora: bool) -> None:
    model = built(FAMILY["Qwen3"], lora=lora)
    passes = ForwardPasses(model, rows=1, length=64, deterministic=False, graphs=False)
    decoder = fused_decoder(passes._network)
    assert decoder is not None
    passes.prefill([Chunk(0, 0, [1])])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter * 1.3)
    with torch.inference_mode():
        found = decoder.logits(
            torch.tensor([9]), torch.tensor([0]), torch.tensor([0]), passes._cache, length=8, wanted=1
        )
        torch.testing.assert_close(found[0], model(input_ids=torch.tensor([[9]])).logits[0, -1])


def test_a_model_of_another_family_has_none() -> None:
    model = AutoModelForCausalLM.from_config(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=50))
    assert fused_decoder(model) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", FAMILY.values(), ids=FAMILY)
def test_a_decoder_that_computes_otherwise_is_found_out(config: Any, dtype: torch.dtype) -> None:
    passes = ForwardPasses(built(config, lora=False).to(dtype), rows=1, length=16, deterministic=False, graphs=False)
    decoder = fused_decoder(passes._network)
    assert decoder is not None
    passes._cache.reserve(1, 16)
    assert passes._agrees(decoder)
    decoder._layers[1], decoder._layers[2] = decoder._layers[2], decoder._layers[1]
    assert not passes._agrees(decoder)
