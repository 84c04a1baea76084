"""What a retriever is worth: measures against scikit-learn, groups, intervals, and settings chosen on other groups."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, ndcg_score

from launch.run import main
from retriever.base.errors import UserError
from retriever.build import build_retriever
from retriever.catalogue import Catalogue
from retriever.config import RetrieverConfig
from retriever.evaluation import LabelledQuery, QueryScores, by_group, leave_one_group_out, score_queries
from retriever.metrics import average_precision, ndcg_at_k
from retriever.tools import ToolDoc

NAMES = ("weather", "currency", "email", "flights")
CATALOGUE = Catalogue.of(ToolDoc(id=name, name=name, description="", parameters={"type": "object"}) for name in NAMES)
WORDS = build_retriever(RetrieverConfig(kind="bm25"), CATALOGUE)


def query(text: str, *gold: str, group: str = "g") -> LabelledQuery:
    return LabelledQuery(text=text, gold=gold, group=group)


def scored(group: str, value: float) -> QueryScores:
    return QueryScores(query=query("q", "weather", group=group), values={"ndcg@5": value})


class TestMeasures:
    @given(st.lists(st.booleans(), min_size=2, max_size=12).filter(any), st.integers(1, 6))
    def test_ndcg_and_average_precision_are_scikit_learns(self, gains: list[bool], k: int) -> None:
        ranked = [str(place) for place in range(len(gains))]
        gold = [tool for tool, gain in zip(ranked, gains, strict=True) if gain]
        falling: NDArray[np.float64] = -np.arange(len(gains), dtype=np.float64)
        assert ndcg_at_k(ranked, gold, k) == pytest.approx(ndcg_score([gains], [falling], k=k))
        assert average_precision(ranked, gold) == pytest.approx(average_precision_score(gains, falling))

    def test_of_one_ranking_by_hand(self) -> None:
        (one,) = score_queries(WORDS, [query("email flights", "flights", "weather")])
        # both tools score the same, so email (earlier in the catalogue) ranks first, flights second, the rest ties at 0
        assert one.values["ndcg@1"] == 0.0
        # ranking: email, flights, weather, currency; ideal DCG = 1 + 1/log2(3) = 1.63093
        assert one.values["ndcg@3"] == pytest.approx((0.63093 + 0.5) / 1.63093, abs=1e-5)
        assert one.values["recall@5"] == one.values["completeness@5"] == 1.0
        assert one.values["mrr"] == 0.5
        assert one.values["map"] == pytest.approx((1 / 2 + 2 / 3) / 2)


class TestGroups:
    def test_are_reported_in_order_and_all_queries_weigh_the_same_in_all(self) -> None:
        queries = [query("email", "email", group="b"), query("email", "weather", group="a"), query("x", "x", group="b")]
        table = by_group(score_queries(WORDS, queries, batch=2))
        assert list(table) == ["b", "a", "all"]
        assert [table[group]["ndcg@1"].mean for group in table] == [0.5, 0.0, pytest.approx(1 / 3)]
        assert [table[group]["ndcg@1"].count for group in table] == [2, 1, 3]
        assert table["b"]["ndcg@1"].low == 0.0
        assert table["b"]["ndcg@1"].high == 1.0

    def test_progress_adds_up(self) -> None:
        done: list[int] = []
        score_queries(WORDS, [query("email", "email")] * 5, batch=2, advance=done.append)
        assert done == [2, 2, 1]

    def test_nothing_to_evaluate_is_an_error(self) -> None:
        with pytest.raises(UserError, match="no query to evaluate"):
            by_group([])


class TestLeaveOneGroupOut:
    def test_a_group_never_helps_to_choose_what_it_is_scored_with(self) -> None:
        low = [scored("a", 1.0), scored("b", 0.2), scored("c", 0.3)]  # best for a alone
        high = [scored("a", 0.0), scored("b", 0.6), scored("c", 0.5)]
        kept, notes = leave_one_group_out([({"w": 0}, low), ({"w": 1}, high)])
        # without a: 0.25 and 0.55 → w=1; without b: 0.65 and 0.25 → w=0; without c: 0.6 and 0.3 → w=0
        assert [note.settings["w"] for note in notes] == [1, 0, 0]
        assert [note.others for note in notes] == pytest.approx([0.55, 0.65, 0.6])
        assert [one.values["ndcg@5"] for one in kept] == [0.0, 0.2, 0.3]

    def test_groups_weigh_the_same_however_many_queries_they_have(self) -> None:
        first = [scored("a", 0.0), *[scored("b", 0.9)] * 9, scored("c", 0.0)]
        second = [scored("a", 0.0), *[scored("b", 0.5)] * 9, scored("c", 0.5)]
        _, notes = leave_one_group_out([({"w": 0}, first), ({"w": 1}, second)])
        assert notes[0].settings["w"] == 1  # b and c: 0.45 against 0.5

    def test_one_group_cannot_be_left_out(self) -> None:
        with pytest.raises(UserError, match="there is only 'a'"):
            leave_one_group_out([({}, [scored("a", 1.0)])])

    def test_an_unknown_measure_is_named(self) -> None:
        with pytest.raises(UserError, match="measure 'ndcg' is unknown"):
            leave_one_group_out([({}, [scored("a", 1.0)])], measure="ndcg")


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        tools = [
            {"id": "a", "name": "red", "description": "red red red blue"},
            {"id": "b", "name": "blue", "description": ""},
        ]
        tasks = [
            {"id": "1", "instruction": "red", "split": "test", "gold_tools": ["a"], "tags": ["one"]},
            {"id": "2", "instruction": "blue", "split": "test", "gold_tools": ["a"], "tags": ["two"]},
            {"id": "3", "instruction": "nothing to find", "split": "test"},
        ]
        for name, entries in (("tools", tools), ("tasks", tasks)):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        return tmp_path

    def test_prints_a_table_and_writes_its_figures(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = folder / "figures.json"
        command = ["retriever", "eval", "--data", str(folder), "retriever.kind=bm25", "--out", str(out)]
        assert main(command) == 0
        printed = capsys.readouterr().out
        assert "2 tools, 2 queries" in printed
        record = json.loads(out.read_text())
        assert {group: found["ndcg@1"]["mean"] for group, found in record["groups"].items()} == {
            "one": 1.0,
            "two": 0.0,  # the short document of b ranks first
            "all": 0.5,
        }
        assert record["groups"]["two"]["mrr"]["mean"] == 0.5
        assert record["catalogue"]["tools"] == 2
        assert record["config"]["retriever"]["kind"] == "bm25"

    def test_chooses_settings_for_each_group_on_the_others(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = ["retriever", "eval", "--data", str(folder), "retriever.kind=bm25"]
        assert main([*command, "--choose", "retriever.b=0.0,1.0", "--by", "ndcg@1"]) == 0
        printed = capsys.readouterr().out
        assert "one: b=" in printed
        assert "two: b=" in printed
        assert "best on all groups" in printed

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["retriever.knd=bm25"], "unknown key retriever.knd; did you mean retriever.kind?"),
            (["--choose", "retriever.b"], "expected KEY=V1,V2"),
            (["--choose", "seed=1,2"], "only keys of the retriever can be chosen"),
            (["--by", "ndcg"], "--by ndcg: give one of ndcg@1"),
            (["bm25"], "'bm25': expected key=value"),
            (["max_queries=0"], "max_queries=0 is below 1"),
        ],
    )
    def test_mistakes_are_one_line(
        self, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
    ) -> None:
        assert main(["retriever", "eval", "--data", str(folder), *arguments]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1

    def test_a_group_of_commands_has_its_own_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["retriever"])
        assert "retriever eval" in capsys.readouterr().out
        assert main(["retriever", "evla"]) == 2
        assert "did you mean retriever eval?" in capsys.readouterr().err
