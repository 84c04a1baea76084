"""Records: what is written is what is read, bit for bit, also after a writer was killed."""

import gzip
import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs.types import (
    Observation,
    ParseFailure,
    Phase,
    PolicyMessage,
    SearchRecord,
    StopReason,
    Task,
    ToolCall,
    ToolResult,
    ToolStatus,
)
from retriever.base.errors import DataError, UserError
from rollout.records import RecordReader, RecordWriter, read_records, trajectory_from_dict, trajectory_to_dict
from rollout.types import Completion, FinishReason, Trajectory, Turn

# Lone surrogates and infinities included: json.loads accepts "\ud800" and 1e999 from a policy.
TEXT = st.text(st.characters(), max_size=8)
NUMBER = st.floats(allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBER | TEXT, lambda inner: st.lists(inner, max_size=3)
)
CALL = st.builds(ToolCall, name=TEXT, arguments=st.dictionaries(TEXT, JSON, max_size=3))


def tuples(of: st.SearchStrategy, most: int = 3) -> st.SearchStrategy:
    return st.lists(of, max_size=most).map(tuple)


RESULT = st.builds(
    ToolResult,
    call=CALL,
    status=st.sampled_from(ToolStatus),
    text=TEXT,
    latency_s=st.floats(0, 9),
    served_from=st.sampled_from(["live", "replay"]),
)
MESSAGE = st.one_of(
    st.builds(PolicyMessage, calls=st.lists(CALL, min_size=1, max_size=2).map(tuple), thought=TEXT),
    st.builds(PolicyMessage, answer=TEXT),
    st.builds(PolicyMessage, failure=st.builds(ParseFailure, reason=TEXT)),
)
TASK = st.builds(
    Task,
    id=TEXT,
    instruction=TEXT,
    split=TEXT,
    gold_tools=st.none() | tuples(TEXT),
    gold_calls=st.none() | tuples(CALL),
    gold_answer=st.none() | TEXT,
    tags=tuples(TEXT),
    expert_queries=tuples(TEXT),
)
COMPLETION = st.lists(st.tuples(st.integers(0, 200_000), st.floats(-1e30, 0)), max_size=5).flatmap(
    lambda tokens: st.builds(
        Completion,
        ids=st.just(tuple(id for id, _ in tokens)),
        logprobs=st.just(tuple(logprob for _, logprob in tokens)),
        finish=st.sampled_from(FinishReason),
        policy_version=st.integers(0, 99),
    )
)
OBSERVATION = st.builds(
    Observation,
    texts=tuples(TEXT),
    searches=tuples(st.builds(SearchRecord, query=TEXT, tool_ids=tuples(TEXT))),
    results=tuples(RESULT),
    format_error=st.none() | TEXT,
    stop=st.none() | st.sampled_from(StopReason),
)
TURN = st.builds(
    Turn,
    phase=st.sampled_from(Phase),
    context=st.integers(0, 3),
    prompt_ids=tuples(st.integers(0, 200_000)),
    completion=COMPLETION,
    text=TEXT,
    message=MESSAGE,
    observation=OBSERVATION,
)
TRAJECTORY = st.builds(
    Trajectory,
    id=TEXT,
    task=TASK,
    turns=tuples(TURN),
    stop=st.sampled_from(StopReason),
    selection=st.none() | tuples(TEXT),
    answer=st.none() | TEXT,
    parent_id=st.none() | TEXT,
    failure=st.none() | TEXT,
    seconds=st.floats(0, 1e6),
)


def trajectory(id: str = "t1/0") -> Trajectory:
    """One search, then a call, then an answer."""
    call = ToolCall(name="add", arguments={"a": 1, "b": [2.5, "\ud800", math.inf]})
    turns = (
        Turn(
            phase=Phase.RETRIEVAL,
            context=0,
            prompt_ids=(1, 2, 3),
            completion=Completion(ids=(4, 5), logprobs=(-0.1, -2.0), finish=FinishReason.STOP, policy_version=7),
            text="search",
            message=PolicyMessage(calls=(ToolCall(name="search_tools", arguments={"query": "sum"}),)),
            observation=Observation(texts=("A. add",), searches=(SearchRecord(query="sum", tool_ids=("add",)),)),
        ),
        Turn(
            phase=Phase.EXECUTION,
            context=1,
            prompt_ids=(9,),
            completion=Completion(ids=(6,), logprobs=(-1 / 3,), finish=FinishReason.LENGTH, policy_version=7),
            text="call",
            message=PolicyMessage(calls=(call,), thought="hm"),
            observation=Observation(
                texts=("3",),
                results=(ToolResult(call=call, status=ToolStatus.OK, text="3"),),
                stop=StopReason.TURN_LIMIT,
            ),
        ),
    )
    task = Task(id="t1", instruction="add", gold_tools=("add",), gold_calls=(call,), gold_answer="3", tags=("single",))
    return Trajectory(id=id, task=task, turns=turns, stop=StopReason.TURN_LIMIT, selection=("add",), seconds=0.25)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(TRAJECTORY)
def test_every_trajectory_survives_the_round_trip(original: Trajectory) -> None:
    text = json.dumps(trajectory_to_dict(original))
    text.encode("ascii")
    assert trajectory_from_dict(json.loads(text)) == original


def test_token_ids_logprobs_and_phases_are_plain_json() -> None:
    value = trajectory_to_dict(trajectory())
    turn = value["turns"][1]
    assert turn["phase"] == "execution"
    assert turn["completion"] == {
        "ids": [6],
        "logprobs": [-1 / 3],
        "finish": "length",
        "policy_version": 7,
        "queue_s": 0.0,
    }
    assert value["task"]["gold_calls"][0]["arguments"]["a"] == 1
    assert value["stop"] == "turn_limit"


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_two_writers_after_each_other_append(tmp_path: Path, name: str) -> None:
    path = tmp_path / "deep" / name
    with RecordWriter(path) as writer:
        writer.write(trajectory("a"), {"reward": {"total": 0.5, "parts": {"ndcg": None}}})
    with RecordWriter(path) as writer:
        assert not writer.mended
        writer.write(trajectory("b"))
    reader = RecordReader(path)
    first, second = reader
    assert (first.trajectory, second.trajectory) == (trajectory("a"), trajectory("b"))
    assert first.extra == {"reward": {"total": 0.5, "parts": {"ndcg": None}}}
    assert second.extra == {}
    assert reader.torn == 0


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_a_record_can_be_read_before_the_writer_closes(tmp_path: Path, name: str) -> None:
    with RecordWriter(tmp_path / name) as writer:
        writer.write(trajectory())
        assert list(read_records(tmp_path / name)) == [trajectory()]


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_wherever_a_kill_tears_the_file_the_whole_records_stay(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with RecordWriter(path) as writer:
        writer.write(trajectory("a"))
        whole = path.stat().st_size
        writer.write(trajectory("b"))
    data = path.read_bytes()
    for cut in [whole + 1, whole + 5, whole + 15, (whole + len(data)) // 2, len(data) - 9, len(data) - 2]:
        path.write_bytes(data[:cut])
        reader = RecordReader(path)
        ids = [record.trajectory.id for record in reader]
        # A gzip trailer holds no text: with only that torn, the record itself is whole.
        assert (ids, reader.torn) == (["a"], 1) or (name.endswith("gz") and ids == ["a", "b"] and reader.torn == 0)
        with RecordWriter(path) as writer:
            assert writer.mended
            writer.write(trajectory("c"))
        reader = RecordReader(path)
        assert ([record.trajectory.id for record in reader], reader.torn) == ([*ids, "c"], 0)
        assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_gz_file_of_one_member_is_mended_without_loss(tmp_path: Path) -> None:
    plain, packed = tmp_path / "r.jsonl", tmp_path / "r.jsonl.gz"
    with RecordWriter(plain) as writer:
        for id in "abc":
            writer.write(trajectory(id))
    packed.write_bytes(gzip.compress(plain.read_bytes())[:-12])
    RecordWriter(packed).close()
    assert [found.id for found in read_records(packed)][:2] == ["a", "b"]


def test_a_last_line_without_newline_is_a_record(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with RecordWriter(path) as writer:
        writer.write(trajectory("a"))
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    reader = RecordReader(path)
    assert ([record.trajectory.id for record in reader], reader.torn) == (["a"], 0)
    with RecordWriter(path) as writer:
        writer.write(trajectory("b"))
    assert [found.id for found in read_records(path)] == ["a", "b"]


def test_a_bad_line_is_named_with_its_field(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with RecordWriter(path) as writer:
        writer.write(trajectory("a"))
        writer.write(trajectory("b"))
    good, bad = path.read_text().splitlines()
    path.write_text(f"{good}\n" + bad.replace('"ids":[4,5]', '"ids":[4,"x"]') + "\n")
    with pytest.raises(DataError, match=r"r\.jsonl:2: .*turns\[0\]\.completion\.ids is .* not a list of numbers"):
        list(read_records(path))
    path.write_text(bad.replace('"ids":[4,5]', '"ids":[4]') + f"\n{good}\n")
    with pytest.raises(DataError, match=r"r\.jsonl:1: .*contradict"):
        list(read_records(path))
    path.write_text(good.replace('"format":1', '"format":9') + "\n")
    with pytest.raises(DataError, match="format 9, this version reads 1"):
        list(read_records(path))


def test_a_field_that_an_older_run_did_not_know_takes_its_default() -> None:
    value = trajectory_to_dict(trajectory())
    del value["seconds"]
    assert trajectory_from_dict(value).seconds == 0.0
    del value["stop"]
    with pytest.raises(ValueError, match="lacks the field 'stop'"):
        trajectory_from_dict(value)
    with pytest.raises(ValueError, match="unknown field 'colour'"):
        trajectory_from_dict({**value, "stop": "selected", "colour": 1})


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rollout records: no file"):
        list(read_records(tmp_path / "none.jsonl"))
