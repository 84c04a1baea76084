"""What the readers of data sets share: their result, and tools that many records repeat, made one."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from envs.types import Task
from retriever.base.canonical import canonical_json
from retriever.catalogue import Catalogue
from retriever.readers import openai_functions
from retriever.readers.place import Place
from retriever.tools import ToolDoc


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A catalogue, and tasks over it."""

    catalogue: Catalogue
    tasks: tuple[Task, ...]
    left_out: Mapping[str, int] = field(hash=False)  # why records became no task, or lost their gold calls → how many


class MergedTools:
    """Functions as records describe them, each once.

    Equal ones are one tool, PREFIX/NAME; where a name is described differently later, the id ends in "~" and the
    place's variant. They have no code behind them: origin "simulator".
    """

    def __init__(self) -> None:
        self._by_text: dict[str, ToolDoc] = {}
        self._names: Counter[str] = Counter()

    @property
    def tools(self) -> list[ToolDoc]:
        """All of them, in the order of first showing."""
        return list(self._by_text.values())

    def tool(self, function: Any, place: Place) -> ToolDoc:
        """The tool of an OpenAI or BFCL function. Raises DataError."""
        text = canonical_json(function)
        if text not in self._by_text:
            name = str(function.get("name")) if isinstance(function, dict) else ""
            tool = openai_functions.tool(function, place if self._names[name] else replace(place, variant=""))
            self._names[name] += 1
            self._by_text[text] = replace(tool, origin="simulator")
        return self._by_text[text]
