"""A run's manifest for readers. The keys are the launcher's; an unknown one is shown as it is, none is required."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FACTS = {
    "status": "status",
    "reason": "why it stopped",
    "started_at": "started",
    "finished_at": "finished",
    "git.commit": "commit",
    "git.dirty": "uncommitted changes",
    "host.platform": "platform",
    "host.python": "Python",
    "host.cores": "cores",
    "host.gpus": "GPUs",
}


def run_name(manifest: Mapping[str, Any], run_dir: Path) -> str:
    """What the run calls itself, else its folder's name."""
    config = manifest.get("config")
    name = config.get("name") if isinstance(config, Mapping) else None
    return str(name or run_dir.absolute().name)


def manifest_facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few facts that everyone asks for."""
    flat = dict(flattened(manifest))
    facts = [(title, flat[key]) for key, title in FACTS.items() if flat.get(key, "null") != "null"]
    command = manifest.get("command")
    if isinstance(command, list):
        facts.append(("command", " ".join(map(str, command))))
    if resumes := manifest.get("resumes"):
        facts.append(("resumed", f"{len(resumes)} times"))
    return facts


def manifest_details(manifest: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Everything else, section by section."""
    titles = {"config": "Configuration", "versions": "Versions", "host": "Machine"}
    sections = [
        (title, flattened(manifest[key])) for key, title in titles.items() if isinstance(manifest.get(key), dict)
    ]
    shown = {*titles, "command", "git", *(key for key in FACTS)}
    if rest := flattened({key: value for key, value in manifest.items() if key not in shown}):
        sections.append(("Other", rest))
    return sections


def flattened(nested: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(dotted key, value as text), in the order given."""
    flat: list[tuple[str, str]] = []
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat += flattened(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            flat.append((f"{prefix}{key}", text))
    return flat
