"""Records: what is written is what is read, bit for bit, and a file that breaks off is never taken for a whole one."""

import gzip
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from rollout.batch_files import (
    Played,
    batch_file,
    batch_number,
    batches_in,
    forget_from,
    keep_newest,
    record_files,
    task_rollouts,
)
from rollout.records import (
    Record,
    RecordReader,
    read_records,
    trajectory_from_dict,
    trajectory_to_dict,
    write_records,
)
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
def test_a_file_that_breaks_off_is_an_error_wherever_it_does(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_records(path, [Record(trajectory=trajectory("a" * 20_000)), Record(trajectory=trajectory("b"))])
    data = path.read_bytes()
    for cut in [len(data) - 2, len(data) - 9, len(data) // 2, 30]:
        path.write_bytes(data[:cut])
        with pytest.raises(DataError, match=rf"{name}:[123]: (not valid JSON .*mend or|cannot be read .*fetch)"):
            list(read_records(path))
    path.write_bytes(data[:-1] if name == "r.jsonl" else data)  # whole but for its newline: a file made by hand
    assert [len(found.id) for found in read_records(path)] == [20_000, 1]


def test_a_small_file_cannot_take_all_memory_nor_overflow_the_stack(tmp_path: Path) -> None:
    bomb, deep = tmp_path / "bomb.jsonl.gz", tmp_path / "deep.jsonl"
    with gzip.open(bomb, "wb") as file:
        for _ in range(60):
            file.write(b" " * 1_000_000)
    deep.write_text('{"format": 1, "trajectory": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with pytest.raises(DataError, match=r"bomb\.jsonl\.gz:1: exceeds 50,000,000 bytes"):
        list(read_records(bomb))
    with pytest.raises(DataError, match=r"deep\.jsonl:1: not valid JSON"):
        list(read_records(deep))


def test_the_reader_knows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_records(path, [Record(trajectory=trajectory("a")), Record(trajectory=trajectory("b"))])
    path.write_text(path.read_text().replace("\n", "\n\n"))  # blank lines are no records
    reader = RecordReader(path)
    assert [(record.trajectory.id, reader.line) for record in reader] == [("a", 1), ("b", 3)]


def test_a_bad_line_is_named_with_its_field(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_records(path, [Record(trajectory=trajectory("a")), Record(trajectory=trajectory("b"))])
    good, bad = path.read_text().splitlines()
    path.write_text(f"{good}\n" + bad.replace('"ids":[4,5]', '"ids":[4,"x"]') + "\n")
    with pytest.raises(DataError, match=r"r\.jsonl:2: .*turns\[0\]\.completion\.ids is .* not a list of numbers"):
        list(read_records(path))
    path.write_text(bad.replace('"ids":[4,5]', '"ids":[4]') + f"\n{good}\n")
    with pytest.raises(DataError, match=r"r\.jsonl:1: .*contradict"):
        list(read_records(path))
    path.write_text(good.replace('"format":1', '"format":9') + "\n")
    with pytest.raises(DataError, match="format 9, this version reads 1; read it with the version that wrote it"):
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


# --- whole files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_a_file_written_at_once_replaces_what_was_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / "deep" / name
    write_records(path, [Record(trajectory=trajectory(id)) for id in "abc"])
    write_records(path, [Record(trajectory=trajectory("d"), extra={"reward": 1})])
    (record,) = RecordReader(path)
    assert (record.trajectory, record.extra) == (trajectory("d"), {"reward": 1})
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_what_records_share_is_compressed_together(tmp_path: Path) -> None:
    records = [Record(trajectory=trajectory(f"t1/{index}")) for index in range(20)]
    write_records(tmp_path / "whole.jsonl.gz", records)
    apart = [tmp_path / f"{index}.jsonl.gz" for index in range(20)]
    for path, record in zip(apart, records, strict=True):
        write_records(path, [record])
    assert (tmp_path / "whole.jsonl.gz").stat().st_size < sum(path.stat().st_size for path in apart) / 5


FULL = """
import resource, signal, sys
from pathlib import Path
import launch.run
from rollout.records import Record, write_records
from tests.test_records import trajectory
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
launch.run._dispatch = lambda argv: write_records(Path(argv[0]), [Record(trajectory=trajectory("n" * 60_000))])
sys.exit(launch.run.main(sys.argv[1:]))
"""


def test_where_no_more_may_be_written_the_file_that_was_there_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "batch-000001.jsonl"
    write_records(path, [Record(trajectory=trajectory("a"))])
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, env=environment, timeout=120, cwd=root
    )
    assert done.returncode == 2, done.stderr
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"toolscout: error: {path}: File too large; check the path, its permissions and the free")
    assert [found.id for found in read_records(path)] == ["a"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


# --- batch files -----------------------------------------------------------------------------------------------------


def test_batch_files_have_their_order_and_the_oldest_go(tmp_path: Path) -> None:
    folder = tmp_path / "rollouts"
    for number in (2, 10, 1, 1_000_000):
        write_records(batch_file(folder, number), [Record(trajectory=trajectory())])
    (folder / ".batch-000003.jsonl.gz.x7").touch()  # of a writer that was killed
    (folder / "notes.jsonl").touch()
    assert [batch_number(path) for path in batches_in(folder)] == [1, 2, 10, 1_000_000]
    assert record_files(tmp_path) == record_files(folder) == batches_in(folder)
    assert record_files(folder / "notes.jsonl") == [folder / "notes.jsonl"]
    keep_newest(folder, 0)
    keep_newest(folder, 4)
    assert len(batches_in(folder)) == 4
    keep_newest(folder, 2)
    assert [batch_number(path) for path in batches_in(folder)] == [10, 1_000_000]
    forget_from(folder, 11)
    assert sorted(path.name for path in folder.iterdir()) == ["batch-000010.jsonl.gz", "notes.jsonl"]
    forget_from(tmp_path / "none", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no batch-\*\.jsonl\.gz there and none in rollouts/"):
        record_files(tmp_path / "empty")


def test_what_played_a_record_comes_back_or_is_refused() -> None:
    played = Played(batch=3, seed=2**62, temperature=0.7, weights="ab", catalogue="cd")
    assert Played.of(json.loads(json.dumps(played.as_extra()))) == played
    assert Played.of({}) is None
    evaluation = replace(played, batch=None)
    assert Played.of(evaluation.as_extra()) == evaluation
    several: list[Any] = [[], {"seed": 1}, {**played.as_extra()["played"], "seed": "1"}]
    several.append({**played.as_extra()["played"], "weights": "[/red]"})
    for bad in several:
        with pytest.raises(ValueError, match="played"):
            Played.of({"played": bad})


def test_rollouts_are_put_together_by_task_in_the_order_of_the_file() -> None:
    start = replace(trajectory("t1/0"), stop=StopReason.SELECTED, turns=trajectory().turns[:1])
    other = replace(start, id="t2/0", task=replace(start.task, id="t2"))
    execution = replace(trajectory("t1/x0"), parent_id="t1/0")
    first, second = task_rollouts([start, other, execution])
    assert (first.task.id, first.retrieval, first.executions) == ("t1", (start,), (execution,))
    assert (second.task.id, second.retrieval, second.executions) == ("t2", (other,), ())
    (alone,) = task_rollouts([execution])  # an evaluation's: the phase that it continued is inside it
    assert alone.retrieval == (replace(start, seconds=0.0),)
    with pytest.raises(ValueError, match="'t1/0' is there twice"):
        task_rollouts([start, execution, start])
