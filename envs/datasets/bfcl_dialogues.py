"""BFCL's multi-turn dialogues (Patil et al. 2025): several requests in turn over stateful tools, with gold calls.

The tools run: envs/executors/bfcl_state.py. Here is what the files say; bfcl_episodes.py makes tasks of it.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from envs.datasets.bfcl_files import BfclFiles, conversation
from envs.types import ToolCall
from retriever.base.errors import DataError
from retriever.catalogue import Catalogue
from retriever.readers import openai_functions
from retriever.readers.place import Place
from retriever.tools import ToolDoc

MULTI_TURN = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")
STATEFUL = {  # class → the name of its module, and of the file that documents its methods
    "GorillaFileSystem": ("gorilla_file_system", "gorilla_file_system"),
    "MathAPI": ("math_api", "math_api"),
    "MessageAPI": ("message_api", "message_api"),
    "TwitterAPI": ("posting_api", "posting_api"),
    "TicketAPI": ("ticket_api", "ticket_api"),
    "TradingBot": ("trading_bot", "trading_bot"),
    "TravelAPI": ("travel_booking", "travel_booking"),
    "VehicleControlAPI": ("vehicle_control", "vehicle_control"),
}
ORIGIN = "bfcl"
_OWN = "Tool description: "


@dataclass(frozen=True, slots=True, kw_only=True)
class BfclTurn:
    """One request."""

    text: str  # empty where the turn only brings tools
    gold: tuple[ToolCall, ...]  # by tool id; empty where nothing can be done yet
    published: tuple[str, ...]  # the same as written: "cd(folder='document')"
    added: tuple[str, ...] = ()  # ids of tools that come with this turn, and were not there before


@dataclass(frozen=True, slots=True, kw_only=True)
class BfclDialogue:
    """A record of a multi-turn category."""

    id: str
    category: str
    turns: tuple[BfclTurn, ...]
    tools: tuple[str, ...]  # ids of the tools that are there from the start
    classes: tuple[str, ...]
    initial: Mapping[str, Any] = field(hash=False)  # class → what its state is loaded from

    @property
    def long_context(self) -> bool:
        """Whether the classes fill their state with much that is of no use."""
        return self.category == "multi_turn_long_context"


@dataclass(frozen=True, slots=True, kw_only=True)
class BfclDialogues:
    """All dialogues, and the tools of the eight classes: id "bfcl/CLASS.METHOD", origin "bfcl"."""

    catalogue: Catalogue
    dialogues: Mapping[str, tuple[BfclDialogue, ...]]  # by category


def read_dialogues(files: BfclFiles) -> BfclDialogues:
    """Read every dialogue. Raises UserError or DataError."""
    tools: dict[str, dict[str, ToolDoc]] = {}
    for name, (_, documented) in STATEFUL.items():
        place = Place(path=files.place(f"multi_turn_func_doc/{documented}.json"), prefix="bfcl")
        tools[name] = {
            function["name"]: _tool(function, name, replace(place, line=number))
            for number, function in files.functions(documented)
        }
    dialogues = {}
    for category in MULTI_TURN:
        answers, path = files.answers(category), files.place(files.file_of(category))
        dialogues[category] = tuple(
            _Dialogue(entry, answers, tools, Place(path=path, prefix="bfcl", line=number)).read(category)
            for number, entry in files.records(category)
        )
    catalogue = Catalogue.of(tool for methods in tools.values() for tool in methods.values())
    return BfclDialogues(catalogue=catalogue, dialogues=dialogues)


def _tool(function: dict[str, Any], class_name: str, place: Place) -> ToolDoc:
    tool = openai_functions.tool(function, place)
    # All methods of a class begin with the same two lines, of which candidate lines and schemas would show little else.
    of_class, marked, own = tool.description.partition(_OWN)
    return replace(
        tool,
        id=f"bfcl/{class_name}.{function['name']}",
        description=f"{own.rstrip('. ')}. {of_class}".strip() if marked else tool.description,
        origin=ORIGIN,
        tags=(class_name,),
    )


class _Dialogue:
    """One record on its way to a dialogue."""

    def __init__(
        self,
        entry: dict[str, Any],
        answers: Mapping[str, list[Any]],
        tools: Mapping[str, Mapping[str, ToolDoc]],
        place: Place,
    ) -> None:
        self._entry, self._place = entry, place
        self._classes = tuple(entry.get("involved_classes", ()))
        if unknown := [name for name in self._classes if name not in tools]:
            raise place.at("involved_classes").bad(f"no class {unknown[0]!r}; known: {', '.join(tools)}")
        self._methods = {name: tool for one in self._classes for name, tool in tools[one].items()}
        self._gold = answers.get(entry["id"], [])
        if len(self._gold) != len(entry["question"]):
            raise place.bad(f"{len(entry['question'])} turns and {len(self._gold)} with gold calls")

    def read(self, category: str) -> BfclDialogue:
        entry = self._entry
        missed = {int(turn): names for turn, names in entry.get("missed_function", {}).items()}
        withheld = {*entry.get("excluded_function", ()), *(name for names in missed.values() for name in names)}
        return BfclDialogue(
            id=entry["id"],
            category=category,
            turns=tuple(self._turn(number, missed.get(number, ())) for number in range(len(self._gold))),
            tools=tuple(tool.id for name, tool in self._methods.items() if name not in withheld),
            classes=self._classes,
            initial=entry["initial_config"],
        )

    def _turn(self, number: int, added: list[str] | tuple[()]) -> BfclTurn:
        messages = self._entry["question"][number]
        assert self._place.line is not None
        return BfclTurn(
            text=conversation(messages, path=self._place.path, line=self._place.line) if messages else "",
            gold=tuple(self._call(text, number) for text in self._gold[number]),
            published=tuple(self._gold[number]),
            added=tuple(self._methods[name].id for name in added),
        )

    def _call(self, text: str, number: int) -> ToolCall:
        """A call as Python writes it. Arguments by position take the names of the documented parameters, in order."""
        try:
            call = ast.parse(text.strip(), mode="eval").body
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                raise ValueError("not a call of a method")
            tool = self._methods[call.func.id]
            values = [ast.literal_eval(argument) for argument in call.args]
            names = list(tool.parameters.get("properties", {}))[: len(values)]
            arguments = dict(zip(names, values, strict=True))
            arguments |= {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        except (SyntaxError, ValueError, KeyError) as error:
            raise self._bad(f"gold call {text!r} of turn {number} cannot be read ({error})") from None
        return ToolCall(name=tool.id, arguments=arguments)

    def _bad(self, message: str) -> DataError:
        return self._place.bad(f"{self._entry['id']}: {message}")
