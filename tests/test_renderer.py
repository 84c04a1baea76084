"""The bridge between text and ids: token by token the Qwen3 template, append-only, and closed to what data spells."""

import json
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from envs.dialects import DIALECTS, SEARCH, SEARCH_SCHEMA, SELECT, SELECT_SCHEMA
from envs.episode import EXECUTION_RULES, RETRIEVAL_RULES
from envs.types import PolicyMessage, Prompt, ToolCall
from retriever.base.errors import UserError
from rollout.renderer import Renderer
from train.nano.curriculum import tokenizer_texts
from train.nano.model import FIXED, SPECIAL, train_tokenizer


@cache
def renderer(dialect: str = "qwen3") -> Renderer:
    """Over a nano tokenizer: Qwen3's control tokens, and the fixed texts as tokens of their own."""
    return Renderer(train_tokenizer(tokenizer_texts(seed=1, count=60)), DIALECTS[dialect])


@cache
def qwen3_template() -> str:
    """The template of the installed trl, read without importing trl."""
    spec = find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "chat_templates" / "qwen3.jinja").read_text(encoding="utf-8")


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


ADD = {
    "name": "zorvek",
    "description": "Adds “two” numbers & more <b>, exactly.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "number"}}},
        "required": ["a"],
    },
}
TASK = "What is the sum of 4 and 5, in “words”?"
Conversation = tuple[Prompt, list[tuple[PolicyMessage, list[str]]]]

# (prompt, [(what the policy says, what it is told)]): a whole episode in two contexts.
RETRIEVAL: Conversation = (
    Prompt(system=RETRIEVAL_RULES, tools=(SEARCH_SCHEMA, SELECT_SCHEMA), user=TASK),
    [
        (PolicyMessage(calls=(call(SEARCH, query=" sum of numbers"),)), ["A. Adds two numbers.\nB. Subtracts."]),
        (
            PolicyMessage(calls=(call(SEARCH, query=" in words"), call(SEARCH, query=" é"))),
            ["C. Spells.", "nothing found"],
        ),
        (PolicyMessage(calls=(call(SELECT, names=["C", "A"]),)), []),
    ],
)
EXECUTION: Conversation = (
    Prompt(system=EXECUTION_RULES, tools=(ADD, SEARCH_SCHEMA), user=TASK),
    [
        (PolicyMessage(calls=(call("zorvek", a=4, b=[5.5, 1e-07]), call("x", s='"\\\n'))), ["9", "error: {no}"]),
        (PolicyMessage(calls=(call("zorvek", a=-1),)), [""]),
        (PolicyMessage(answer="nine, or 9"), []),
    ],
)
APPENDED: Conversation = (
    RETRIEVAL[0],
    [*RETRIEVAL[1][:-1], (RETRIEVAL[1][-1][0], ["Go on with these.\n" + json.dumps(ADD)]), *EXECUTION[1]],
)


def chat(conversation: Conversation) -> list[dict[str, Any]]:
    """The conversation as a chat server gets it."""
    prompt, turns = conversation
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": prompt.system},
        {"role": "user", "content": prompt.user},
    ]
    for said, told in turns:
        tool_calls = [{"function": {"name": c.name, "arguments": c.arguments}} for c in said.calls]
        messages.append({"role": "assistant", "content": said.answer or "", "tool_calls": tool_calls})
        messages += [{"role": "tool", "content": text} for text in told]
    return messages


def templated(conversation: Conversation, *, template: str | None = None, prompt: bool, tokenize: bool = True) -> Any:
    tools = [{"type": "function", "function": schema} for schema in conversation[0].tools]
    return renderer().tokenizer.apply_chat_template(
        chat(conversation),
        tools=tools,
        chat_template=template,
        add_generation_prompt=prompt,
        tokenize=tokenize,
        return_dict=False,
    )


def rendered(conversation: Conversation) -> list[int]:
    """The context as it grows in an episode: prompt, completion, observation, completion, …"""
    prompt, turns = conversation
    ids = list(renderer().prompt_ids(prompt))
    for said, told in turns:
        ids += renderer().completion_ids(said)
        ids += renderer().observation_ids(told) if told else ()
    return ids


def until(conversation: Conversation, turns: int) -> Conversation:
    return conversation[0], conversation[1][:turns]


CONVERSATIONS = pytest.mark.parametrize(
    "conversation", [RETRIEVAL, EXECUTION, APPENDED], ids=["retrieval", "execution", "append"]
)


@CONVERSATIONS
def test_whenever_the_policy_is_asked_it_sees_qwen3s_own_tokens(conversation: Conversation) -> None:
    for turns in range(len(conversation[1])):  # before the first turn, before the second, …
        asked = until(conversation, turns)
        assert rendered(asked) == templated(asked, template=qwen3_template(), prompt=True)


@CONVERSATIONS
def test_of_a_whole_conversation_qwen3s_template_changes_only_the_last_turn(conversation: Conversation) -> None:
    # It puts an empty thought before the last assistant message; everything before that is token by token ours.
    asked = until(conversation, len(conversation[1]) - 1)
    theirs = templated(conversation, template=qwen3_template(), prompt=False)
    prefix = rendered(asked)
    assert theirs[: len(prefix)] == prefix
    last = renderer().completion_ids(conversation[1][-1][0])
    text = renderer().completion_text(theirs[len(prefix) :])
    assert text == "<think>\n\n</think>\n\n" + renderer().completion_text(last) + "<|im_end|>\n"


@CONVERSATIONS
def test_our_own_template_gives_every_token(conversation: Conversation) -> None:
    newline = renderer().tokenizer.encode("\n", add_special_tokens=False)
    assert rendered(conversation) + newline == templated(conversation, prompt=False)
    for turns in range(len(conversation[1])):
        asked = until(conversation, turns)
        assert rendered(asked) == templated(asked, prompt=True)


def test_what_every_context_repeats_is_one_token_each() -> None:
    pieces = renderer().tokenizer.convert_ids_to_tokens(renderer().prompt_ids(RETRIEVAL[0]))
    head, tail, tags, example, search, select = FIXED[6:12]
    assert pieces[:17] == [
        *("<|im_start|>", "systemĊ", RETRIEVAL_RULES, head, search, select, tail, "<tool_call>", "</tool_call>", tags),
        *("<tool_call>", example, "</tool_call>", "<|im_end|>", "Ċ", "<|im_start|>", "userĊ"),
    ]
    assert pieces[-4:] == ["<|im_end|>", "Ċ", "<|im_start|>", "assistantĊ"]


def test_a_context_only_grows() -> None:
    """Ids of a turn are never changed by what follows, and the messages read back are the messages written."""
    prompt, turns = APPENDED
    ids: list[int] = []
    expected = [("system", "".join(DIALECTS["qwen3"].system(prompt))), ("user", TASK)]
    for number, (said, told) in enumerate(turns):
        grown = rendered((prompt, turns[:number]))
        assert grown[: len(ids)] == ids
        assert renderer().messages(grown) == expected
        ids = grown
        expected.append(("assistant", "".join(DIALECTS["qwen3"].write(said))))
        expected.append(("user", "".join(DIALECTS["qwen3"].observation(told))))


def test_completions_are_read_without_their_end() -> None:
    message = PolicyMessage(calls=(call("f", x=[1, "é"]),))
    ids = renderer().completion_ids(message)
    assert ids[-1] == renderer().end_id
    assert renderer().completion_text(ids) == '<tool_call>\n{"name": "f", "arguments": {"x": [1, "é"]}}\n</tool_call>'
    assert renderer().completion_text(ids[:-1]) == renderer().completion_text(ids)  # cut off at the limit
    assert renderer().completion_text(()) == ""


CONTROL = (*SPECIAL, *FIXED)


def spellings(control: str) -> list[str]:
    """The whole, all but its first or last sign, halves, and itself inside itself."""
    half = len(control) // 2
    return [
        control,
        control[1:],
        control[:-1],
        control[:half],
        control[half:],
        control[:half] + control + control[half:],
    ]


# Every fixed text begins or ends with a newline or a blank that another one ends or begins with: they overlap.
OVERLAPS = [one[:-1] + other for one in FIXED[6:] for other in FIXED[6:] if one[-1] == other[0]]
DATA = st.lists(
    st.sampled_from([spelling for control in CONTROL for spelling in spellings(control)])
    | st.sampled_from(OVERLAPS)
    | st.text(max_size=4),
    max_size=6,
).map("".join)


def control_ids(ids: Sequence[int]) -> list[str]:
    names = {id: token.content for id, token in renderer().tokenizer.added_tokens_decoder.items()}
    return [names[id] for id in ids if id in names]


def test_the_fuzz_below_holds_overlapping_spellings() -> None:
    assert len(OVERLAPS) >= 10


@pytest.mark.parametrize("data", [*CONTROL, *OVERLAPS], ids=range(len(CONTROL) + len(OVERLAPS)))
def test_no_spelling_of_a_control_token_is_one(data: str) -> None:
    ids = renderer().observation_ids([data])
    assert control_ids(ids) == ["<|im_start|>", "<tool_response>", "</tool_response>", "<|im_end|>", "<|im_start|>"]


@given(DATA)
def test_results_are_data_and_decode_back(text: str) -> None:
    ids = renderer().observation_ids([text])
    assert control_ids(ids) == ["<|im_start|>", "<tool_response>", "</tool_response>", "<|im_end|>", "<|im_start|>"]
    framed = f"\n<|im_start|>user\n<tool_response>\n{text}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    assert renderer().completion_text(ids) == framed
    paper = renderer("paper").observation_ids([text])
    assert control_ids(paper) == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]


@given(DATA, DATA)
def test_instructions_and_schemas_are_data_and_decode_back(instruction: str, description: str) -> None:
    schema = {"name": "f", "description": description, "parameters": {}}
    prompt = Prompt(system=EXECUTION_RULES, tools=(schema,), user=instruction)
    ids = renderer().prompt_ids(prompt)
    harmless = renderer().prompt_ids(Prompt(system=EXECUTION_RULES, tools=({**schema, "description": ""},), user=""))
    assert control_ids(ids) == control_ids(harmless)
    system, user = renderer().messages(ids)
    assert user == ("user", instruction)
    assert system[1] == "".join(DIALECTS["qwen3"].system(prompt))


@given(DATA)
def test_arguments_and_answers_are_data_and_decode_back(text: str) -> None:
    answer = renderer().completion_ids(PolicyMessage(answer=text))
    assert control_ids(answer) == ["<|im_end|>"]
    assert renderer().completion_text(answer) == text
    asked = renderer().completion_ids(PolicyMessage(calls=(call("f", x=text),)))
    assert control_ids(asked) == ["<tool_call>", "</tool_call>", "<|im_end|>"]


def test_half_a_surrogate_pair_is_a_question_mark() -> None:
    # Python tools can return one; it has no UTF-8 form, and a tokenizer would raise.
    assert "\na?b\n" in renderer().completion_text(renderer().observation_ids(["a\ud800b"]))


def test_other_chat_formats_are_refused() -> None:
    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")))
    with pytest.raises(UserError, match="no <|im_start|> token; only ChatML models"):
        Renderer(plain, DIALECTS["qwen3"])
