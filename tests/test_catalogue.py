"""Catalogues as files and as sets: bad lines left out, streaming, near-duplicates, splits and distractors."""

import gzip
import hashlib
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch import run as command_line
from retriever.base.bad_entries import BadEntries
from retriever.base.canonical import canonical_json
from retriever.base.errors import DataError, UserError
from retriever.catalogue import Catalogue
from retriever.duplicates import NearDuplicates, near_duplicates, shared_names
from retriever.packed import PackedObject
from retriever.schemas import parameters_problem
from retriever.splits import distractors, split_catalogue
from retriever.tools import ToolDoc
from retriever.words import tokens

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(tool_id: str, description: str = "", *tags: str, name: str | None = None) -> ToolDoc:
    return ToolDoc(id=tool_id, name=name or tool_id, description=description, parameters=SCHEMA, tags=tags)


def written(path: Path, entries: list[Any]) -> Path:
    lines = (entry if isinstance(entry, str) else json.dumps(entry) for entry in entries)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def entry(tool_id: str, **change: Any) -> dict[str, Any]:
    return {"id": tool_id, "name": tool_id, "description": "", "parameters": SCHEMA, **change}


class TestBadLines:
    def test_are_left_out_and_told_with_file_line_and_field(self, tmp_path: Path) -> None:
        lines = [entry("a"), "{", entry("b", tags="x"), entry("c"), entry("a"), "[1]", entry("d")]
        bad = BadEntries()
        catalogue = Catalogue.load(written(tmp_path / "tools.jsonl", lines), on_bad=bad)
        assert [one.id for one in catalogue] == ["a", "c", "d"]
        assert bad.count == 4
        assert [(error.line, error.field) for error in bad.first] == [(2, None), (3, "tags"), (5, "id"), (6, None)]
        assert "'a' is already the id of line 1" in bad.first[2].message
        assert str(bad.first[1]).startswith(f"{tmp_path}/tools.jsonl:3: field 'tags': expected a list")

    def test_in_100_000_lines_the_first_is_named_or_all_three_are_left_out(self, tmp_path: Path) -> None:
        lines: list[Any] = [entry(f"tool {number}") for number in range(1, 100_001)]
        lines[30_000] = '{"id": "half'
        lines[50_000] = entry("wrong", parameters={"type": "dict"})
        lines[70_000] = entry("tool 7")
        path = written(tmp_path / "tools.jsonl", lines)
        with pytest.raises(DataError, match=r"tools\.jsonl:30001: not valid JSON"):
            Catalogue.load(path)
        bad = BadEntries()
        assert len(Catalogue.load(path, on_bad=bad)) == 99_997
        assert bad.count == 3
        assert [error.line for error in bad.first] == [30_001, 50_001, 70_001]

    def test_only_the_first_few_are_remembered(self, tmp_path: Path) -> None:
        path = written(tmp_path / "tools.jsonl", [entry("a"), *["?"] * 500])
        bad = BadEntries(keep=5)
        Catalogue.load(path, on_bad=bad)
        assert (bad.count, [error.line for error in bad.first]) == (500, [2, 3, 4, 5, 6])

    def test_a_file_of_bad_lines_alone_and_an_archive_that_breaks_off_are_errors_all_the_same(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(UserError, match="holds no tool"):
            Catalogue.load(written(tmp_path / "tools.jsonl", ["?"]), on_bad=BadEntries())
        packed = tmp_path / "tools.jsonl.gz"
        packed.write_bytes(gzip.compress(json.dumps(entry("a")).encode() * 99)[:40])
        with pytest.raises(DataError, match="cannot be read"):
            Catalogue.load(packed, on_bad=BadEntries())

    @pytest.mark.parametrize("text", ["[" * 100_000, '{"id": ' * 100_000, "1" * 5_000])
    def test_a_line_that_json_cannot_take_is_bad_too(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(DataError, match=r"tools.jsonl:1: not valid JSON"):
            Catalogue.load(written(tmp_path / "tools.jsonl", [text]))

    @pytest.mark.parametrize(
        ("schema", "says"),
        [
            ({"properties": {"a": {"pattern": "a{99999999999}"}}}, "too deep or too large"),
            ({"properties": {"a": {"pattern": "(" * 5_000}}}, "too deep or too large"),
            ({"$ref": "#/required/a", "required": ["b"]}, "leads nowhere"),
            ({"$ref": "http://["}, "leads nowhere"),
        ],
    )
    def test_a_schema_that_trips_its_checkers_is_a_problem(self, schema: dict[str, Any], says: str) -> None:
        assert says in (parameters_problem({"type": "object", **schema}) or "")


class TestFiles:
    def test_the_hash_is_that_of_the_canonical_list(self) -> None:
        catalogue = Catalogue.of([tool("a", "ä"), tool("b", "x", "music")])
        whole = canonical_json([one.to_dict() for one in catalogue])
        assert catalogue.content_hash == hashlib.sha256(whole.encode()).hexdigest()
        assert Catalogue.of([]).content_hash == hashlib.sha256(b"[]").hexdigest()

    def test_equal_catalogues_are_equal_bytes_compressed_too(self, tmp_path: Path) -> None:
        catalogue = Catalogue.of([tool("a", "ä"), tool("b", "x", "music")])
        for name in ("one.jsonl", "two.jsonl", "one.jsonl.gz", "two.jsonl.gz"):
            catalogue.save(tmp_path / name)
        assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
        assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()
        assert gzip.decompress((tmp_path / "one.jsonl.gz").read_bytes()) == (tmp_path / "one.jsonl").read_bytes()
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            *("one.jsonl", "one.jsonl.gz", "two.jsonl", "two.jsonl.gz"),
        ]

    @pytest.mark.parametrize("name", ["tools.jsonl", "tools.jsonl.gz"])
    def test_a_save_that_fails_half_way_leaves_the_old_file(self, tmp_path: Path, name: str) -> None:
        Catalogue.of([tool("a")]).save(tmp_path / name)
        broken = ToolDoc(id="b", name="b", description="", parameters={"type": {1, 2}})
        with pytest.raises(TypeError):
            Catalogue.of([tool("x"), broken]).save(tmp_path / name)
        assert [one.id for one in Catalogue.load(tmp_path / name)] == ["a"]
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_parameters_that_were_loaded_are_text_and_read_as_the_object_they_were(self, tmp_path: Path) -> None:
        schema = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"default": "ä"}}}
        path = written(tmp_path / "tools.jsonl", [entry("a", parameters=schema), entry("b", parameters=schema)])
        first, second = Catalogue.load(path)
        assert isinstance(first.parameters, PackedObject)
        assert first.parameters is second.parameters
        assert first.parameters == schema
        assert schema == first.parameters
        assert list(first.parameters["properties"]) == ["z", "a"]
        assert (len(first.parameters), "type" in first.parameters, "items" in first.parameters) == (2, True, False)
        assert first == ToolDoc(id="a", name="a", description="", parameters=schema)
        assert pickle.loads(pickle.dumps(first)) == first


class TestNearDuplicates:
    def test_are_grouped_by_the_words_of_name_and_description(self) -> None:
        ten = "one two three four five six seven eight nine"
        catalogue = Catalogue.of(
            [
                tool("a", f"{ten} ten", name="get_it"),
                tool("other", "Sends a mail", name="send"),
                tool("b", f"{ten.upper()}, ten!", name="getIt"),  # the same words: 1.0
                tool("c", f"{ten} eleven", name="get_it"),  # 11 of 13 words in common: 0.846
                tool("d", f"{ten} ten more", name="get_it"),  # 12 of 13: 0.923
            ]
        )
        assert near_duplicates(catalogue) == (NearDuplicates(ids=("a", "b", "d"), similarity=12 / 13),)
        assert near_duplicates(catalogue, threshold=1) == (NearDuplicates(ids=("a", "b"), similarity=1.0),)
        (group,) = near_duplicates(catalogue, threshold=0.8)
        assert group == NearDuplicates(ids=("a", "b", "c", "d"), similarity=11 / 13)

    @given(
        st.lists(st.lists(st.sampled_from("abcdefghijkl"), max_size=12), max_size=30),
        st.sampled_from([0.3, 0.5, 0.75, 0.8, 0.9, 1.0]),
    )
    def test_are_those_that_comparing_all_pairs_finds(self, texts: list[list[str]], threshold: float) -> None:
        catalogue = Catalogue.of(tool(str(number), " ".join(text), name="x") for number, text in enumerate(texts))
        words = {one.id: {"x", *tokens(one.description)} for one in catalogue}
        groups: list[list[str]] = []
        for tool_id, found in words.items():
            for group in groups:
                first = words[group[0]]
                if len(first & found) / len(first | found) >= threshold:
                    group.append(tool_id)
                    break
            else:
                groups.append([tool_id])
        found_groups = [list(group.ids) for group in near_duplicates(catalogue, threshold=threshold)]
        assert found_groups == [group for group in groups if len(group) > 1]

    def test_a_threshold_outside_0_to_1_is_named(self) -> None:
        with pytest.raises(UserError, match="threshold=1.5 is outside 0 to 1"):
            near_duplicates(Catalogue.of([tool("a")]), threshold=1.5)

    def test_names_that_several_tools_share_are_told(self) -> None:
        catalogue = Catalogue.of([tool("a", name="get"), tool("b", name="put"), tool("c", name="get")])
        assert shared_names(catalogue) == {"get": ("a", "c")}


HUNDRED = Catalogue.of(tool(f"t{number}", "", ("music", "maps", "mail", "news")[number % 4]) for number in range(100))


class TestSplits:
    def test_by_tool_a_share_is_unseen_in_the_catalogues_order(self) -> None:
        split = split_catalogue(HUNDRED, unseen_share=0.2, seed=0)
        assert (len(split.seen), len(split.unseen)) == (80, 20)
        everything = [one.id for one in HUNDRED]
        assert sorted([*split.seen, *split.unseen]) == sorted(everything)
        assert [tool_id for tool_id in everything if tool_id in split.unseen] == list(split.unseen)
        assert split == split_catalogue(HUNDRED, unseen_share=0.2, seed=0)
        assert split != split_catalogue(HUNDRED, unseen_share=0.2, seed=1)

    def test_a_tool_more_moves_at_most_one(self) -> None:
        before = split_catalogue(HUNDRED, unseen_share=0.2, seed=0)
        after = split_catalogue(HUNDRED.changed(add=[tool("new")]), unseen_share=0.2, seed=0)
        assert len(set(before.unseen) - set(after.unseen)) <= 1

    def test_by_category_whole_categories_are_unseen(self) -> None:
        split = split_catalogue(HUNDRED, unseen_share=0.3, seed=0, by="category")
        held = {HUNDRED[tool_id].tags for tool_id in split.unseen}
        assert len(held) == 1  # 25 tools are nearer to 30 than 50 are
        assert held.isdisjoint(HUNDRED[tool_id].tags for tool_id in split.seen)

    def test_what_cannot_be_split_is_named(self) -> None:
        for share in (0.0, 1.0, math.nan):
            with pytest.raises(UserError, match="is not between 0 and 1"):
                split_catalogue(HUNDRED, unseen_share=share, seed=0)
        with pytest.raises(UserError, match="1 categories of 1 tools leaves a part empty"):
            split_catalogue(Catalogue.of([tool("a")]), unseen_share=0.5, seed=0, by="category")

    def test_distractors_are_not_gold_and_fewer_begin_more(self) -> None:
        def drawn(count: int, query: str = "q", seed: int = 0) -> list[str]:
            found = distractors(HUNDRED, gold_ids=["t1", "t2"], count=count, seed=seed, query_key=query)
            return [one.id for one in found]

        assert drawn(0) == []
        assert drawn(15)[:5] == drawn(5)
        assert len(set(drawn(15))) == 15
        assert drawn(15) != drawn(15, query="p")
        assert drawn(15) != drawn(15, seed=1)
        assert sorted(drawn(98)) == sorted({one.id for one in HUNDRED} - {"t1", "t2"})

    def test_distractors_that_are_not_there_are_refused(self) -> None:
        few = Catalogue.of([tool("alpha"), tool("beta"), tool("gamma")])
        with pytest.raises(UserError, match="count=3 is outside 0 to 2, the tools that are not gold"):
            distractors(few, gold_ids=["alpha"], count=3, seed=0, query_key="q")
        with pytest.raises(UserError, match=r"no gold tool 'alpah' \(did you mean 'alpha'\?\)"):
            distractors(few, gold_ids=["alpah"], count=1, seed=0, query_key="q")

    def test_distractors_depend_on_the_tools_alone_not_on_how_they_came_together(self) -> None:
        changed = Catalogue.of(list(HUNDRED)[:50]).changed(add=list(HUNDRED)[50:])
        for catalogue in (changed, HUNDRED):
            found = distractors(catalogue, gold_ids=[], count=5, seed=3, query_key="q")
            assert found == distractors(HUNDRED, gold_ids=[], count=5, seed=3, query_key="q")


class TestCheck:
    def test_tells_what_is_in_a_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        mail = entry("mail", description="Send a mail", origin="mcp", tags=["office"])
        twin = {**mail, "id": "twin"}
        path = written(tmp_path / "tools.jsonl", [entry("mute"), mail, twin, "[7]"])
        assert command_line.main(["catalogue", "check", str(path), "--skip-bad", "--near-duplicates"]) == 0
        lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
        for said in (
            "names that several tools share, a model calls one of them: 1",
            "mail: mail, twin",
            "groups of near-duplicates, by the words of name and description: 1",
            "mail, twin (1.00)",
            "tools without a description to be found by: 1; write one here, or where they are defined and import "
            "them again",
            "bad entries left out: 1",
            f"{path}:4: expected a JSON object, got list",
        ):
            assert said in lines
        assert any(line.split() == ["mcp", "2", "1"] for line in lines)
        assert lines[-1].startswith(f"{path}: 3 tools, content hash ")

    def test_a_bad_line_is_one_line_and_exit_code_2(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = written(tmp_path / "tools.jsonl", [entry("a"), entry("b", name=7)])
        assert command_line.main(["catalogue", "check", str(path)]) == 2
        told = capsys.readouterr().err
        assert told == f"toolscout: error: {path}:2: field 'name': expected a string, got 7; put it in quotes\n"
