"""Masks, token by token: a two-search, two-call episode in both dialects and both kinds of context."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from envs.config import EnvConfig
from envs.dialects import DIALECTS, SEARCH, SELECT, PaperDialect, Qwen3Dialect, tool_json
from envs.episode import EXECUTION_RULES, RETRIEVAL_RULES
from envs.types import PolicyMessage, Task, ToolCall
from retriever.tools import Candidate, ToolDoc
from rollout.collect import Collector
from rollout.config import GroupPlan, RolloutConfig
from rollout.engine import GenerationRequest
from rollout.renderer import Renderer
from rollout.types import Completion, FinishReason, Sampling, TaskRollouts
from tests.support import functions_executor
from train.segments import Objective, Segment, segments_of


def tool(name: str, *parameters: str, description: str) -> ToolDoc:
    properties = {parameter: {"type": "integer"} for parameter in parameters}
    return ToolDoc(id=name, name=name, description=description, parameters={"type": "object", "properties": properties})


ADD = tool("add", "a", "b", description="Adds.")
SUB = tool("sub", "a", "b", description="Subtracts.")
ROOT = tool("root", "x", description="Roots.")
TASK = Task(id="t", instruction="Root of 4 + 5?", gold_tools=("add", "root"), gold_answer="3")


async def search(query: str, k: int) -> Sequence[Candidate]:
    found = {"sum": (ADD, SUB), "root": (ROOT,)}[query]
    return [Candidate(tool=tool, score=-rank, rank=rank) for rank, tool in enumerate(found, start=1)]


def run_tool(tool_id: str, arguments: Mapping[str, Any]) -> str:
    return {"add": "9", "root": "3"}[tool_id]


def call(name: str, **arguments: Any) -> PolicyMessage:
    return PolicyMessage(calls=(ToolCall(name=name, arguments=arguments),))


SAID = (
    call(SEARCH, query="sum"),
    call(SEARCH, query="root"),
    call(SELECT, names=["C", "A"]),
    call("add", a=4, b=5),
    call("root", x=9),
    PolicyMessage(answer="3"),
)

# ---- a tokenizer that a reader can follow: every token is one of these texts


def line_of(tool: ToolDoc) -> str:
    schema = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return "\n" + tool_json(schema)


HEAD, TAIL, TAGS, EXAMPLE, SEARCH_LINE, SELECT_LINE = map(str, Qwen3Dialect.FIXED)
ADD_LINE, ROOT_LINE, PAPER_RULES = line_of(ADD), line_of(ROOT), PaperDialect.RULES
START, END = "<|im_start|>", "<|im_end|>"
CONTROL = (START, END, "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
PIECES = (
    *(
        "?",
        "system\n",
        "user\n",
        "assistant\n",
        "\n",
        "\n\n",
        "\n\nTools:",
        RETRIEVAL_RULES,
        EXECUTION_RULES,
        PAPER_RULES,
    ),
    *(HEAD, TAIL, TAGS, EXAMPLE, SEARCH_LINE, SELECT_LINE, ADD_LINE, ROOT_LINE, "Root of 4 + 5?"),
    *(
        '\n{"name": "',
        '{"name": "',
        '", "arguments": ',
        "}\n",
        "}",
        "search_tools",
        "select_tools",
        "add",
        "root",
        "sum",
    ),
    *('{"query": "sum"}', '{"query": "root"}', '{"names": ["C", "A"]}', '{"a": 4, "b": 5}', '{"x": 9}', "9", "3"),
    *("A. Adds.", "B. Subtracts.", "C. Roots.", "1. C", "2. A", "<search>", "</search>", "<tools>", "</tools>"),
    *("<call>", "</call>", "<answer>", "</answer>", "<result>", "</result>"),
)
IDS = {piece: id for id, piece in enumerate((*PIECES, *CONTROL))}


def readable_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({piece: IDS[piece] for piece in PIECES}, unk_token="?"))
    longest_first = sorted(PIECES, key=len, reverse=True)
    pattern = "|".join("".join(f"\\x{{{ord(sign):x}}}" for sign in piece) for piece in longest_first)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in CONTROL])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


class CountingEngine:
    """Says what it is given; its n-th token of the episode has the log-prob −n."""

    def __init__(self, renderer: Renderer, said: Sequence[PolicyMessage]) -> None:
        self.policy_version = 7
        self.contexts: list[tuple[int, ...]] = []  # what it was asked to continue, and what it said
        self._renderer, self._said = renderer, iter(said)
        self._count = 0

    async def generate(self, request: GenerationRequest) -> Completion:
        ids = self._renderer.completion_ids(next(self._said))
        logprobs = tuple(-float(self._count + place) for place in range(1, len(ids) + 1))
        self._count += len(ids)
        self.contexts.append(request.ids + ids)
        return Completion(ids=ids, logprobs=logprobs, finish=FinishReason.STOP, policy_version=self.policy_version)

    def close_session(self, session: str) -> None:
        pass


def play(dialect: str, context: Any, said: Sequence[PolicyMessage] = SAID) -> tuple[TaskRollouts, CountingEngine]:
    renderer = Renderer(readable_tokenizer(), DIALECTS[dialect])
    engine = CountingEngine(renderer, said)
    collector = Collector(
        engine=engine,
        renderer=renderer,
        search=search,
        executor=functions_executor(run_tool, observation_chars=100),
        env=EnvConfig(dialect=dialect, context=context, candidate_line="{label}. {description}"),  # type: ignore[arg-type]
        rollout=RolloutConfig(),
    )
    rollouts = asyncio.run(collector.collect([TASK], GroupPlan(group_size=1), sampling=Sampling(), seed=0))
    return rollouts[0], engine


# ---- the two episodes, written out: (who wrote it, its tokens), in order. The policy's tokens are the action mask.

US, POLICY = False, True
Written = list[tuple[bool, list[str]]]

QWEN3_PROMPT: Written = [
    (
        US,
        [START, "system\n", RETRIEVAL_RULES, HEAD, SEARCH_LINE, SELECT_LINE, TAIL, "<tool_call>", "</tool_call>", TAGS],
    ),
    (US, ["<tool_call>", EXAMPLE, "</tool_call>", END, "\n"]),
    (US, [START, "user\n", "Root of 4 + 5?", END, "\n", START, "assistant\n"]),
]
QWEN3_SEARCH_AND_SELECT: Written = [
    (POLICY, ["<tool_call>", '\n{"name": "', "search_tools", '", "arguments": ', '{"query": "sum"}', "}\n"]),
    (POLICY, ["</tool_call>", END]),
    (US, ["\n", START, "user\n", "<tool_response>", "\n", "A. Adds.", "\n", "B. Subtracts.", "\n", "</tool_response>"]),
    (US, [END, "\n", START, "assistant\n"]),
    (POLICY, ["<tool_call>", '\n{"name": "', "search_tools", '", "arguments": ', '{"query": "root"}', "}\n"]),
    (POLICY, ["</tool_call>", END]),
    (US, ["\n", START, "user\n", "<tool_response>", "\n", "C. Roots.", "\n", "</tool_response>"]),
    (US, [END, "\n", START, "assistant\n"]),
    (POLICY, ["<tool_call>", '\n{"name": "', "select_tools", '", "arguments": ', '{"names": ["C", "A"]}', "}\n"]),
    (POLICY, ["</tool_call>", END]),
]
QWEN3_FRESH_PROMPT: Written = [
    (US, [START, "system\n", EXECUTION_RULES, HEAD, ROOT_LINE, ADD_LINE, TAIL, "<tool_call>", "</tool_call>", TAGS]),
    (US, ["<tool_call>", EXAMPLE, "</tool_call>", END, "\n"]),
    (US, [START, "user\n", "Root of 4 + 5?", END, "\n", START, "assistant\n"]),
]
QWEN3_HANDOVER: Written = [
    (
        US,
        [
            "\n",
            START,
            "user\n",
            "<tool_response>",
            "\n",
            EXECUTION_RULES,
            ROOT_LINE,
            ADD_LINE,
            "\n",
            "</tool_response>",
        ],
    ),
    (US, [END, "\n", START, "assistant\n"]),
]
QWEN3_CALL_AND_ANSWER: Written = [
    (
        POLICY,
        ["<tool_call>", '\n{"name": "', "add", '", "arguments": ', '{"a": 4, "b": 5}', "}\n", "</tool_call>", END],
    ),
    (
        US,
        [
            "\n",
            START,
            "user\n",
            "<tool_response>",
            "\n",
            "9",
            "\n",
            "</tool_response>",
            END,
            "\n",
            START,
            "assistant\n",
        ],
    ),
    (POLICY, ["<tool_call>", '\n{"name": "', "root", '", "arguments": ', '{"x": 9}', "}\n", "</tool_call>", END]),
    (
        US,
        [
            "\n",
            START,
            "user\n",
            "<tool_response>",
            "\n",
            "3",
            "\n",
            "</tool_response>",
            END,
            "\n",
            START,
            "assistant\n",
        ],
    ),
    (POLICY, ["3", END]),
]

PAPER_PROMPT: Written = [
    (US, [START, "system\n", RETRIEVAL_RULES, "\n\n", PAPER_RULES, END, "\n"]),
    (US, [START, "user\n", "Root of 4 + 5?", END, "\n", START, "assistant\n"]),
]
PAPER_SEARCH_AND_SELECT: Written = [
    (POLICY, ["<search>", "sum", "</search>", END]),
    (US, ["\n", START, "user\n", "<result>", "\n", "A. Adds.", "\n", "B. Subtracts.", "\n", "</result>", END, "\n"]),
    (US, [START, "assistant\n"]),
    (POLICY, ["<search>", "root", "</search>", END]),
    (US, ["\n", START, "user\n", "<result>", "\n", "C. Roots.", "\n", "</result>", END, "\n", START, "assistant\n"]),
    (POLICY, ["<tools>", "\n", "1. C", "\n", "2. A", "\n", "</tools>", END]),
]
PAPER_FRESH_PROMPT: Written = [
    (US, [START, "system\n", EXECUTION_RULES, "\n\n", PAPER_RULES, "\n\nTools:", ROOT_LINE, ADD_LINE, END, "\n"]),
    (US, [START, "user\n", "Root of 4 + 5?", END, "\n", START, "assistant\n"]),
]
PAPER_HANDOVER: Written = [
    (US, ["\n", START, "user\n", "<result>", "\n", EXECUTION_RULES, ROOT_LINE, ADD_LINE, "\n", "</result>", END, "\n"]),
    (US, [START, "assistant\n"]),
]
PAPER_CALL_AND_ANSWER: Written = [
    (POLICY, ["<call>", '{"name": "', "add", '", "arguments": ', '{"a": 4, "b": 5}', "}", "</call>", END]),
    (US, ["\n", START, "user\n", "<result>", "\n", "9", "\n", "</result>", END, "\n", START, "assistant\n"]),
    (POLICY, ["<call>", '{"name": "', "root", '", "arguments": ', '{"x": 9}', "}", "</call>", END]),
    (US, ["\n", START, "user\n", "<result>", "\n", "3", "\n", "</result>", END, "\n", START, "assistant\n"]),
    (POLICY, ["<answer>", "3", "</answer>", END]),
]
EPISODES = {
    "qwen3": (QWEN3_PROMPT, QWEN3_SEARCH_AND_SELECT, QWEN3_FRESH_PROMPT, QWEN3_HANDOVER, QWEN3_CALL_AND_ANSWER),
    "paper": (PAPER_PROMPT, PAPER_SEARCH_AND_SELECT, PAPER_FRESH_PROMPT, PAPER_HANDOVER, PAPER_CALL_AND_ANSWER),
}
# How many tokens the policy sampled while searching and selecting, counted above: 3 × 8, and 4 + 4 + 8.
RETRIEVAL_TOKENS = {"qwen3": 24, "paper": 16}


def untrained(written: Written) -> Written:
    return [(US, tokens) for _, tokens in written]


def segment(written: Written, objective: Objective, advantage: float, first: int = 1) -> Segment:
    """The segment that was written out; the policy's first token in it was its `first` of the episode."""
    ids, mask, logprobs, advantages = [], [], [], []
    for who, tokens in written:
        for token in tokens:
            ids.append(IDS[token])
            mask.append(who is POLICY)
            logprobs.append(-float(first) if who is POLICY else 0.0)
            advantages.append(advantage if who is POLICY else 0.0)
            first += who is POLICY
    return Segment(
        ids=tuple(ids),
        action_mask=tuple(mask),
        behaviour_logprobs=tuple(logprobs),
        advantages=tuple(advantages),
        objective=objective,
    )


@pytest.mark.parametrize("dialect", ["qwen3", "paper"])
def test_fresh_is_two_segments(dialect: str) -> None:
    prompt, searching, fresh_prompt, _, calling = EPISODES[dialect]
    rollouts, engine = play(dialect, "fresh")
    (start,), (whole,) = rollouts.retrieval, rollouts.executions
    second = RETRIEVAL_TOKENS[dialect] + 1  # the first token of execution

    expected = segment(prompt + searching, Objective.RETRIEVAL, 0.5)
    assert segments_of(start, Objective.RETRIEVAL, 0.5) == [expected]
    assert expected.action_tokens == RETRIEVAL_TOKENS[dialect]

    expected = segment(fresh_prompt + calling, Objective.EXECUTION, -1.5, first=second)
    assert segments_of(whole, Objective.EXECUTION, -1.5) == [expected]
    assert segments_of(start, Objective.EXECUTION, -1.5) == []

    assert segments_of(whole, Objective.COUPLED, 2.0) == [
        segment(prompt + searching, Objective.COUPLED, 2.0),
        segment(fresh_prompt + calling, Objective.COUPLED, 2.0, first=second),
    ]
    # The segments are what the engine saw and said, to the token.
    assert engine.contexts[2] == segment(prompt + searching, Objective.RETRIEVAL, 0.0).ids
    assert engine.contexts[5] == segment(fresh_prompt + calling, Objective.EXECUTION, 0.0).ids


@pytest.mark.parametrize("dialect", ["qwen3", "paper"])
def test_append_is_one_segment(dialect: str) -> None:
    prompt, searching, _, handover, calling = EPISODES[dialect]
    rollouts, engine = play(dialect, "append")
    (start,), (whole,) = rollouts.retrieval, rollouts.executions

    assert segments_of(start, Objective.RETRIEVAL, 0.5) == [segment(prompt + searching, Objective.RETRIEVAL, 0.5)]
    # Of the whole, retrieval trains the same tokens: what follows the last of them is cut.
    assert segments_of(whole, Objective.RETRIEVAL, 0.5) == [segment(prompt + searching, Objective.RETRIEVAL, 0.5)]

    # Execution attends to the searches but does not train them, and their log-probs are not its business.
    second = RETRIEVAL_TOKENS[dialect] + 1
    expected = segment(prompt + untrained(searching) + handover + calling, Objective.EXECUTION, -1.5, first=second)
    assert segments_of(whole, Objective.EXECUTION, -1.5) == [expected]

    everything = segment(prompt + searching + handover + calling, Objective.COUPLED, 2.0)
    assert segments_of(whole, Objective.COUPLED, 2.0) == [everything]
    assert engine.contexts[5] == everything.ids


def test_the_paper_episode_in_numbers() -> None:
    """The same once more without any helper: the action mask of `fresh` retrieval, token by token."""
    rollouts, _ = play("paper", "fresh")
    (found,) = segments_of(rollouts.retrieval[0], Objective.RETRIEVAL, 1.0)
    prompt, first, second = 14, 4, 4
    assert [int(acts) for acts in found.action_mask] == [
        *(0, 0, 0, 0, 0, 0, 0),  # system
        *(0, 0, 0, 0, 0, 0, 0),  # user, and the head of the assistant's turn
        *(1, 1, 1, 1),  # <search>sum</search><|im_end|>
        *(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),  # two candidates, and the head of the assistant's turn
        *(1, 1, 1, 1),  # <search>root</search><|im_end|>
        *(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),  # one candidate
        *(1, 1, 1, 1, 1, 1, 1, 1),  # <tools>\n1. C\n2. A\n</tools><|im_end|>
    ]
    assert found.behaviour_logprobs[prompt : prompt + first] == (-1, -2, -3, -4)
    assert found.behaviour_logprobs[prompt + first + 14 :][:second] == (-5, -6, -7, -8)
    assert found.behaviour_logprobs[-8:] == (-9, -10, -11, -12, -13, -14, -15, -16)
    assert found.action_tokens == 16


def test_malformed_messages_are_trained_too() -> None:
    # The policy sampled them, and has to learn not to.
    rollouts, _ = play("paper", "fresh", said=[PolicyMessage(answer="3"), *SAID])
    (found,) = segments_of(rollouts.retrieval[0], Objective.RETRIEVAL, 1.0)
    assert found.action_tokens == RETRIEVAL_TOKENS["paper"] + len(["<answer>", "3", "</answer>", END])


def test_the_readable_tokenizer_knows_every_text() -> None:
    for dialect in EPISODES:
        for context in ("fresh", "append"):
            rollouts, engine = play(dialect, context)
            assert all(IDS["?"] not in ids for ids in engine.contexts)
            assert [turn.message for turn in rollouts.executions[0].turns] == list(SAID)
