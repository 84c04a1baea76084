"""How one episode's policy sees tools: labels, names and schemas, and the way back to the real ones.

With aliases, names are drawn afresh for every episode, so that a policy has to read descriptions instead of
remembering names: the only way to use a tool that it never met. The index is searched by the real documents; the
bijection is applied when something is shown and undone when something is called.
"""

import string
from collections.abc import Mapping
from typing import Any

from envs.config import EnvConfig
from retriever.base.seeds import derive_random
from retriever.tools import ToolDoc

CONSONANTS = "bdfgklmnprstvz"
VOWELS = "aeiou"


def label_of(index: int) -> str:
    """A, B, …, Z, AA, AB, … for 0, 1, …: short, and one token in most vocabularies."""
    letters = ""
    index += 1
    while index:
        index, digit = divmod(index - 1, 26)
        letters = string.ascii_uppercase[digit] + letters
    return letters


class ToolView:
    """The names of one episode. Single use; `seed` fixes the aliases."""

    def __init__(self, config: EnvConfig, *, seed: int) -> None:
        self._config = config
        self._random = derive_random(seed, "aliases")
        self._taken: set[str] = set()
        self._names: dict[str, str] = {}  # tool id → shown name
        self._parameters: dict[str, dict[str, str]] = {}  # tool id → real parameter → shown parameter
        self._labels: dict[str, str] = {}  # tool id → label, in the order of first showing
        self._shown: dict[str, ToolDoc] = {}  # label or shown name → tool

    def line(self, tool: ToolDoc) -> str:
        """The candidate line of `tool`, which from now on can be selected by what the line shows."""
        label = self._labels.setdefault(tool.id, label_of(len(self._labels)))
        name = self.name(tool)
        line = self._config.candidate_line
        for shown, field in ((label, "{label}"), (name, "{name}")):
            if field in line:
                self._shown.setdefault(shown, tool)  # two tools of one name: the first one shown keeps it
        return line.format(label=label, name=name, description=" ".join(tool.description.split()))

    def shown(self, reference: str) -> ToolDoc | None:
        """The tool that the policy means by a label or name which a search showed."""
        return self._shown.get(reference.strip())

    def name(self, tool: ToolDoc) -> str:
        """The name under which this episode knows `tool`."""
        if tool.id not in self._names:
            self._names[tool.id] = tool.name if self._config.aliases == "off" else self._fresh_name()
        return self._names[tool.id]

    def schema(self, tool: ToolDoc) -> dict[str, Any]:
        """The OpenAI function object of `tool`, as the policy reads it."""
        shown = self._parameter_names(tool)
        parameters = dict(tool.parameters)
        properties: Mapping[str, Any] = parameters.get("properties", {})
        parameters["properties"] = {shown[name]: value for name, value in properties.items()}
        if "required" in parameters:
            parameters["required"] = [shown.get(name, name) for name in parameters["required"]]
        return {"name": self.name(tool), "description": tool.description, "parameters": parameters}

    def real_arguments(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments under the tool's own parameter names; unknown ones keep theirs, and fail validation."""
        real = {shown: name for name, shown in self._parameter_names(tool).items()}
        return {real.get(name, name): value for name, value in arguments.items()}

    def shown_arguments(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The inverse of `real_arguments`."""
        shown = self._parameter_names(tool)
        return {shown.get(name, name): value for name, value in arguments.items()}

    def _parameter_names(self, tool: ToolDoc) -> dict[str, str]:
        if tool.id not in self._parameters:
            aliased = self._config.aliases == "names_and_parameters"
            names = tool.parameters.get("properties", {})
            self._parameters[tool.id] = {name: self._fresh_name() if aliased else name for name in names}
        return self._parameters[tool.id]

    def _fresh_name(self) -> str:
        while True:
            name = made_up_word(self._random)
            if name not in self._taken:
                self._taken.add(name)
                return name


def made_up_word(random: Any) -> str:
    """Two consonant-vowel-consonant syllables, such as "zorvek": pronounceable, on purpose a word of no language."""
    return "".join(random.choice(CONSONANTS) + random.choice(VOWELS) + random.choice(CONSONANTS) for _ in range(2))
