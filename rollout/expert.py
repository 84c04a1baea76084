"""The scripted expert: it knows a task's gold tools, and reads everything else from the context like a policy.

`skill` is the share of tasks that it plays well: one short search per need, then exactly the needed tools. It plays the
others as a mediocre teacher would: it searches for the first need alone, and selects tools that nobody needs as well.
Who imitates it knows how to search again but seldom does: what reinforcement learning has to improve on.
"""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from envs.config import EnvConfig
from envs.dialects import SEARCH, SELECT
from envs.types import PolicyMessage, Task, ToolCall
from envs.view import shown_description
from retriever.base.errors import UserError
from retriever.base.seeds import derive_random
from retriever.tools import ToolDoc

_RESULT = re.compile(r"<(tool_response|result)>\n(.*?)\n</\1>", re.DOTALL)


class Expert:
    """A `Script` that solves tasks; it recognises its task by the instruction, and tools by their description.

    Dialogues may read alike: it goes on as the first does that has the requests made so far, and calls that can be
    made. Of BFCL's 795, all together, it plays 19 as another one.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        tools: Mapping[str, ToolDoc],
        *,
        env: EnvConfig,
        skill: float = 1.0,
        clutter: bool = False,  # select needless tools too, in any order: practice for choosing at call time
    ) -> None:
        self._searching, self._executing = _by_instruction(tasks)
        self._tools, self._env = tools, env
        self._skill, self._clutter = skill, clutter
        self._candidate = _candidate_pattern(env.candidate_line)

    def __call__(self, messages: Sequence[tuple[str, str]], seed: int) -> PolicyMessage:
        """The next message of a context."""
        (_, system), (_, instruction), *rest = messages
        heard = [content for role, content in rest if role == "user"]
        results = [text for content in heard for _, text in _RESULT.findall(content)]
        schemas = _schemas(system)
        for position, text in enumerate(results):
            if found := _schemas(text):  # context: append; what came before is the retrieval phase
                schemas, results = found, results[position + 1 :]
                break
        if not schemas:
            return self._retrieve(self._searching[_key(instruction)], results)
        later = [place for place, content in enumerate(heard) if not _RESULT.search(content)]
        for place in later:
            schemas |= _schemas(heard[place])
        since = [text for content in heard[later[-1] :] for _, text in _RESULT.findall(content)] if later else results
        begun = self._executing.get(_key(instruction)) or [self._searching[_key(instruction)]]
        task = self._meant(begun, [heard[place] for place in later], schemas)
        return self._execute(task, _calls(task, len(later)), schemas, since)

    def _meant(self, tasks: Sequence[Task], later: Sequence[str], schemas: Mapping[str, Any]) -> Task:
        """Which of the dialogues that begin alike it is, as far as can be told; `later`: what the user said since."""

        def callable_now(call: ToolCall) -> bool:
            return shown_description(self._tools[call.name], self._env) in schemas

        alike = [task for task in tasks if _goes_on_with(task, later)]
        able = [task for task in alike if all(map(callable_now, _calls(task, len(later))))]
        return max(able or alike, key=lambda task: bool(_calls(task, len(later))))

    def _retrieve(self, task: Task, results: Sequence[str]) -> PolicyMessage:
        careful = derive_random("careful", task.id).random() < self._skill
        queries = task.expert_queries or (task.asked,)
        if not careful:
            queries = queries[:1]
        if len(results) < len(queries):
            # A leading space: byte-level BPE spells a word differently at the start of a string than in running text,
            # and a query is copied out of running text. The environment strips it.
            return _call(SEARCH, {"query": f" {queries[len(results)]}"})
        shown: dict[str, str] = {}  # description → what selects it, in the order shown
        for line in "\n".join(results).splitlines():
            if match := self._candidate.fullmatch(line):
                found = match.groupdict()
                shown.setdefault(found["description"], found.get("label") or found["name"])
        wanted = [shown_description(self._tools[id], self._env) for id in task.gold_tools or ()]
        chosen = [shown.pop(description) for description in wanted if description in shown]
        spare = list(shown.values())
        if spare and (self._clutter or not careful):
            random = derive_random("spare", task.id)
            needless = min(len(spare), random.randint(1, 2))
            if self._clutter:
                chosen += random.sample(spare, k=needless)
                random.shuffle(chosen)
            else:
                chosen += spare[:needless]  # what ranked highest: a habit that can be imitated, and unlearned
        return _call(SELECT, {"names": chosen or spare[:1] or ["none"]})

    def _execute(
        self, task: Task, calls: Sequence[ToolCall], schemas: Mapping[str, dict[str, Any]], results: Sequence[str]
    ) -> PolicyMessage:
        if len(results) < len(calls):
            call = calls[len(results)]
            schema = schemas.get(shown_description(self._tools[call.name], self._env))
            if schema is not None:
                real = self._tools[call.name].parameters.get("properties", {})
                shown = dict(zip(real, schema["parameters"].get("properties", {}), strict=True))
                return _call(schema["name"], {shown[name]: value for name, value in call.arguments.items()})
        return PolicyMessage(answer=task.gold_answer or (results[-1] if results else "unknown"))


def _by_instruction(tasks: Sequence[Task]) -> tuple[dict[str, Task], dict[str, list[Task]]]:
    """By what retrieval shows of a task, and by what execution begins with: of a dialogue the first request alone.

    Raises UserError for two tasks that read the same and want different tools or answers, dialogues aside.
    """
    searching: dict[str, Task] = {}
    executing: dict[str, list[Task]] = {}
    for task in tasks:
        other = searching.setdefault(_key(task.asked), task)
        if not (task.requests and other.requests) and _wanted(task) != _wanted(other):
            raise UserError(
                f"tasks {other.id!r} and {task.id!r} have the same instruction and not the same gold, so that nobody "
                "could know which is meant; reword one of the two"
            )
        executing.setdefault(_key(task.instruction), []).append(task)
    return searching, executing


def _wanted(task: Task) -> tuple[object, ...]:
    return task.gold_tools, task.gold_calls, task.gold_answer, task.expert_queries


def _calls(task: Task, number: int) -> tuple[ToolCall, ...]:
    """Those of the request of this number, from 0; of a task that is no dialogue, all of them."""
    return task.requests[number].gold_calls if task.requests else task.gold_calls or ()


def _goes_on_with(task: Task, later: Sequence[str]) -> bool:
    said = [_key(request.text) for request in task.requests[1 : 1 + len(later)]]
    return len(said) == len(later) and all(map(str.startswith, map(_key, later), said))


def _key(instruction: str) -> str:
    """What is left of an instruction on its way through any tokenizer: several compose characters."""
    return unicodedata.normalize("NFC", instruction)


def _call(name: str, arguments: dict[str, Any]) -> PolicyMessage:
    return PolicyMessage(calls=(ToolCall(name=name, arguments=arguments),))


def _schemas(text: str) -> dict[str, dict[str, Any]]:
    """Description → schema of every tool that `text` lists, but for the two of the retrieval phase."""
    found = {}
    for line in text.splitlines():
        if line.startswith('{"type": "function"'):
            schema = json.loads(line)["function"]
            if schema["name"] not in (SEARCH, SELECT):
                found[schema["description"]] = schema
    return found


def _candidate_pattern(candidate_line: str) -> re.Pattern[str]:
    pattern = re.escape(candidate_line)
    for field in ("label", "name", "description"):
        pattern = pattern.replace(re.escape("{" + field + "}"), f"(?P<{field}>.+?)", 1)
    return re.compile(pattern)
