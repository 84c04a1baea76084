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


def shown_description(tool: ToolDoc, config: EnvConfig) -> str:
    """A tool's description as candidate lines and schemas show it: one line, cut at `description_chars`."""
    text = " ".join(tool.description.split())
    return text if len(text) <= config.description_chars else text[: config.description_chars - 1].rstrip() + "…"


class ToolView:
    """The names of one episode. Single use; `seed` fixes the aliases."""

    def __init__(self, config: EnvConfig, *, seed: int) -> None:
        self._config = config
        self._random = derive_random(seed, "aliases")
        self._taken: set[str] = set()
        self._names: dict[str, str] = {}  # tool id → shown name
        self._parameters: dict[str, dict[str, str]] = {}  # tool id → real parameter → shown parameter
        self._labels: dict[str, str] = {}  # tool id → label, in the order of first showing
        self._by_label: dict[str, ToolDoc] = {}  # only what a search showed
        self._by_name: dict[str, ToolDoc] = {}

    def line(self, tool: ToolDoc) -> str:
        """The candidate line of `tool`, which from now on can be selected by what the line shows."""
        label = self._labels.setdefault(tool.id, label_of(len(self._labels)))
        name = self.name(tool)
        line = self._config.candidate_line
        if "{label}" in line:
            self._by_label[label] = tool
        if "{name}" in line:
            self._by_name[name] = tool
        return line.format(label=label, name=name, description=shown_description(tool, self._config))

    def shown(self, reference: str) -> ToolDoc | None:
        """The tool that the policy means by a label or name which a search showed."""
        reference = reference.strip()
        return self._by_label.get(reference) or self._by_name.get(reference)  # a tool may be named "B"

    def name(self, tool: ToolDoc) -> str:
        """The name under which this episode knows `tool`."""
        if tool.id not in self._names:
            aliased = self._config.aliases != "off"
            self._names[tool.id] = self._fresh_name() if aliased else self._distinct(tool.name)
        return self._names[tool.id]

    def schema(self, tool: ToolDoc) -> dict[str, Any]:
        """The OpenAI function object of `tool`, as the policy reads it."""
        shown = self._parameter_names(tool)
        parameters = dict(tool.parameters)
        properties: Mapping[str, Any] = parameters.get("properties", {})
        parameters["properties"] = {shown[name]: value for name, value in properties.items()}
        if "required" in parameters:
            parameters["required"] = [shown.get(name, name) for name in parameters["required"]]
        description = shown_description(tool, self._config)
        return {"name": self.name(tool), "description": description, "parameters": parameters}

    def real_arguments(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments under the tool's own parameter names. Unknown ones keep theirs.

        An aliased parameter's real name is unknown here and becomes its alias: no two names ever fall together.
        """
        shown = self._parameter_names(tool)
        real = shown | {alias: name for name, alias in shown.items()}
        return {real.get(name, name): value for name, value in arguments.items()}

    def _parameter_names(self, tool: ToolDoc) -> dict[str, str]:
        if tool.id not in self._parameters:
            aliased = self._config.aliases == "names_and_parameters"
            names = tool.parameters.get("properties", {})
            self._parameters[tool.id] = {name: self._fresh_name() if aliased else name for name in names}
        return self._parameters[tool.id]

    def _distinct(self, name: str) -> str:
        """Names need not be unique in a catalogue; a second tool of one name is `name_2`."""
        distinct, count = name, 1
        while distinct in self._taken:
            count += 1
            distinct = f"{name}_{count}"
        self._taken.add(distinct)
        return distinct

    def _fresh_name(self) -> str:
        while True:
            name = made_up_word(self._random)
            if name not in self._taken:
                self._taken.add(name)
                return name


def made_up_word(random: Any) -> str:
    """Two consonant-vowel-consonant syllables, such as "zorvek": pronounceable, on purpose a word of no language."""
    return "".join(random.choice(CONSONANTS) + random.choice(VOWELS) + random.choice(CONSONANTS) for _ in range(2))
