"""The README.md of an exported policy: what it is, how it did, how it was trained, how to load it, what it cannot do.

Written from a run's summary and manifest; no path of the machine that trained it gets in.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from envs.dialects import DIALECTS, SEARCH_SCHEMA, SELECT_SCHEMA
from envs.episode import RETRIEVAL_RULES
from envs.types import Prompt
from train.evaluation.tables import markdown_tables

TAGS = ("toolscout", "tool-use", "tool-retrieval", "reinforcement-learning", "grpo")
SECTIONS = ("model", "env", "sft", "grpo", "reward")  # of the run's config
EXAMPLE_TASK = "How many days are there between 2024-02-10 and 2024-03-01?"

LIMITS = """\
- It works inside a loop that this repository provides: `search_tools` must be answered by a retriever over a tool
  catalogue, and each selected tool by an executor. Alone it only writes the calls.
- The table above was measured on the project's own tasks, with their tools, wording and answer checks. It says nothing
  of other catalogues; evaluate on yours.
- Selections and answers are wrong as often as the table says. Check calls that have effects before you execute them.
- A tool's description and its results are text that the model obeys. Put in no tool that you do not trust.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What the card is written from."""

    name: str
    summary: Mapping[str, Any] = field(default_factory=dict, hash=False)  # summary.json
    manifest: Mapping[str, Any] = field(default_factory=dict, hash=False)  # manifest.json
    stage: str = "rl"  # the stage whose weights these are
    base_model: str | None = None  # a Hub name; a path or a shipped model is told in the text alone
    license: str = "apache-2.0"
    dialect: str = "qwen3"


def card_text(card: ModelCard, *, template_knows_tools: bool) -> str:
    """The whole README.md. `template_knows_tools`: whether the tokenizer's chat template renders `tools=`."""
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(card), sort_keys=False, allow_unicode=True)}---",
        f"# {card.name}",
        _introduction(card),
        "## Evaluation",
        markdown_tables(card.summary),
        "## How to use it",
        "The first turn of an episode, with plain transformers. The model answers with a call of `search_tools` or "
        "`select_tools`; after the selection a new context lists the selected tools instead, and it calls those.",
        f"```python\n{usage(card, template_knows_tools=template_knows_tools)}```",
        "## Training",
        _training(card),
        "## Limits",
        LIMITS,
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def usage(card: ModelCard, *, template_knows_tools: bool) -> str:
    """A program that loads the model from the folder it is run in, and prints its first turn."""
    tools = [{"type": "function", "function": schema} for schema in (SEARCH_SCHEMA, SELECT_SCHEMA)]
    by_template = card.dialect == "qwen3" and template_knows_tools
    prompt = Prompt(system=RETRIEVAL_RULES, tools=(SEARCH_SCHEMA, SELECT_SCHEMA), user=EXAMPLE_TASK)
    system = RETRIEVAL_RULES if by_template else "".join(DIALECTS[card.dialect].system(prompt))
    listed = "".join(f"    {json.dumps(tool, ensure_ascii=False)},\n" for tool in tools)
    given = f"tools = [\n{listed}]\n" if by_template else ""
    return (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'path = "."  # this folder, or the name of its repository on the Hub\n'
        "tokenizer = AutoTokenizer.from_pretrained(path)\n"
        "model = AutoModelForCausalLM.from_pretrained(path)\n"
        f"{given}"
        "messages = [\n"
        f'    {{"role": "system", "content": {json.dumps(system, ensure_ascii=False)}}},\n'
        f'    {{"role": "user", "content": {json.dumps(EXAMPLE_TASK)}}},\n'
        "]\n"
        "prompt = tokenizer.apply_chat_template(\n"
        f"    messages, {'tools=tools, ' if by_template else ''}"
        'add_generation_prompt=True, return_dict=True, return_tensors="pt"\n'
        ")\n"
        "output = model.generate(**prompt, max_new_tokens=128, do_sample=False)\n"
        'print(tokenizer.decode(output[0, prompt["input_ids"].shape[1] :]))\n'
    )


def hub_name(path: str | None) -> str | None:
    """`path` when it can be a repository of the Hub ("owner/name"), else None: a local folder is nobody else's."""
    known = path and re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", path) and not Path(path).exists()
    return path if known else None


def _front_matter(card: ModelCard) -> dict[str, Any]:
    base = hub_name(card.base_model)
    return {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": card.license,
        "language": ["en"],
        **({"base_model": base} if base else {}),
        "tags": list(TAGS),
    }


def _introduction(card: ModelCard) -> str:
    how = {
        "base": "It is the base model before any training on the tools.",
        "sft": "It was trained by imitation of a scripted expert (SFT).",
        "rl": "It was trained by imitation of a scripted expert (SFT), then by reinforcement learning from its own "
        "episodes: decoupled GRPO, with retrieval and execution credited apart.",
    }
    return (
        "A tool-using policy made with Toolscout. It searches a tool catalogue with queries of its own, selects a "
        f"ranked set of tools, calls them and answers. {how.get(card.stage, '')}"
    )


def _training(card: ModelCard) -> str:
    manifest = card.manifest
    facts = [] if card.base_model is None else [f"- Base model: {_portable(card.base_model)}"]
    if isinstance(seconds := card.summary.get("seconds"), int | float):
        facts.append(f"- Time of the whole run: {seconds / 60:.1f} minutes")
    git = manifest.get("git")
    if isinstance(git, Mapping) and git.get("commit"):
        facts.append(f"- Code: commit `{git['commit']}`{', with uncommitted changes' if git.get('dirty') else ''}")
    if versions := manifest.get("versions"):
        facts.append("- Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    host = manifest.get("host")
    if isinstance(host, Mapping):
        gpus = ", ".join(map(str, host.get("gpus") or ())) or "no GPU"
        facts.append(f"- Machine: {host.get('cores', '?')} CPU cores, {gpus}")
    config = manifest.get("config")
    rows = _config_rows(config) if isinstance(config, Mapping) else []
    if rows:
        facts += ["", "| setting | value |", "| --- | --- |", *rows]
    return "\n".join(facts) or "No manifest was given."


def _config_rows(config: Mapping[str, Any]) -> list[str]:
    chosen = {name: config[name] for name in SECTIONS if isinstance(config.get(name), Mapping)}
    if "seed" in config:
        chosen = {"seed": config["seed"], **chosen}
    return [f"| {name} | `{_portable(value)}` |" for name, value in _flat(chosen)]


def _flat(nested: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in nested.items():
        flat += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return flat


def _portable(value: Any) -> str:
    """A setting as text for a table cell; of a path on the training machine only the last part."""
    if isinstance(value, str):
        text = value.rstrip("/").rpartition("/")[2] if hub_name(value) is None else value
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text.replace("|", "\\|").replace("`", "'").replace("\n", " ")
