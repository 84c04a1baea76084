"""The embedded world: enough real and different tools, tasks that are true, and splits that do not leak."""

import ast
import contextlib
import inspect
import json
import pickle
import re
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from envs.types import Task
from envs.worlds.authoring import WorldTool, parameter_kinds, parameter_types, parse_need, settled
from envs.worlds.composing import LONGEST_RESULT, SPLITS, call_hash, shown
from envs.worlds.domains.registry import DOMAINS
from envs.worlds.embedded import EmbeddedWorld
from envs.worlds.wording import TRAIN_WORDING, UNSEEN_WORDING
from retriever.base.errors import UserError
from retriever.base.seeds import derive_random

WORLD = EmbeddedWorld.build(0)
ENTRIES = [(f"{domain}.{tool.name}", tool) for domain, tools in DOMAINS.items() for tool in tools]
NARROW = {  # the tools whose domain has no 200 different arguments with a short result
    "counting.double_factorial",
    "counting.arrangements",
    "counting.fibonacci",
    "counting.lucas_number",
    "counting.tribonacci",
    "counting.catalan_number",
    "counting.birthday_probability",
    "units.note_frequency",
    "encoding.nato_spelling",
    "encoding.character_codes",
    "network.prefix_length",
    "network.service_of_port",
    "colours.colour_by_name",
}


@pytest.fixture(scope="module")
def tasks() -> dict[str, list[Task]]:
    """Some thousand tasks of every split, from two seeds."""
    return {split: [task for seed in (0, 1) for task in WORLD.tasks(split, 1000, seed)] for split in SPLITS}


# ---- the tools


def test_there_are_hundreds_of_tools_in_twelve_or_more_full_domains() -> None:
    assert len(WORLD.tools) >= 220
    assert len(DOMAINS) >= 12
    assert min(len(tools) for tools in DOMAINS.values()) >= 12
    assert len({doc.id for doc in WORLD.tools}) == len({doc.name for doc in WORLD.tools}) == len(WORLD.tools)


def test_descriptions_are_different_sentences_of_a_few_words() -> None:
    assert len({doc.description for doc in WORLD.tools}) == len(WORLD.tools)
    for doc in WORLD.tools:
        assert 5 <= len(doc.description.split()) <= 14, doc
        assert re.fullmatch(r"[A-Z].*\.", doc.description), doc


def test_a_schema_says_what_the_signature_says() -> None:
    doc = next(doc for doc in WORLD.tools if doc.id == "statistics.moving_average")
    assert doc.parameters == {
        "type": "object",
        "properties": {"values": {"type": "array", "items": {"type": "number"}}, "width": {"type": "integer"}},
        "required": ["values", "width"],
    }
    assert (doc.name, doc.origin, doc.tags) == ("moving_average", "python", ("statistics",))
    assert all(1 <= len(doc.parameters["required"]) <= 3 for doc in WORLD.tools)


class _Normalised(ast.NodeTransformer):
    """Names and numbers blanked: what is left of two clones of one function is the same."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(id=self._names.get(node.id, node.id), ctx=node.ctx)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(value=0) if isinstance(node.value, int | float) else node


def _normalised_body(function: Callable[..., Any]) -> str:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    stored = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    local = dict.fromkeys([argument.arg for argument in tree.args.args] + stored)
    names = {name: f"v{position}" for position, name in enumerate(local)}
    return "".join(ast.dump(_Normalised(names).visit(statement)) for statement in tree.body[1:])  # [0]: docstring


def test_no_two_functions_differ_only_in_names_and_numbers() -> None:
    bodies: dict[str, list[str]] = {}
    for id, tool in ENTRIES:
        bodies.setdefault(_normalised_body(tool.function), []).append(id)
    assert [ids for ids in bodies.values() if len(ids) > 1] == []


@pytest.mark.parametrize(
    ("tool", "arguments", "result"),
    [
        ("math.truncated_division", {"a": -7, "b": 2}, "-3"),
        ("math.floor_division", {"a": -7, "b": 2}, "-4"),
        ("math.ceiling_division", {"a": 7, "b": 2}, "4"),
        ("numbers.greatest_common_divisor", {"a": 12, "b": 18}, "6"),
        ("numbers.prime_factors", {"n": 60}, "[2, 2, 3, 5]"),
        ("numbers.euler_totient", {"n": 12}, "4"),  # 1, 5, 7, 11
        ("bases.to_roman", {"n": 1994}, "MCMXCIV"),
        ("bases.from_roman", {"numeral": "MCMXCIV"}, "1994"),
        ("bases.bitwise_xor", {"a": 12, "b": 10}, "6"),  # 1100 ^ 1010 = 0110
        ("bases.gray_code", {"n": 4}, "110"),
        ("bases.number_to_words", {"n": 1042}, "one thousand forty-two"),
        ("fractions.add_fractions", {"x": "1/4", "y": "1/6"}, "5/12"),
        ("fractions.egyptian_fraction", {"x": "5/6"}, "[2, 3]"),
        ("statistics.population_variance", {"values": [2, 4, 4, 4, 5, 5, 7, 9]}, "4"),
        ("statistics.sample_variance", {"values": [1, 2, 3]}, "1"),
        ("statistics.harmonic_mean", {"values": [2, 6]}, "3"),
        ("statistics.median_absolute_deviation", {"values": [1, 2, 9]}, "1"),
        ("lists.running_total", {"values": [3, 1, 4]}, "[3, 4, 8]"),
        ("lists.dot_product", {"first": [1, 2, 3], "second": [4, 5, 6]}, "32"),
        ("sets.symmetric_difference", {"first": [1, 2, 3], "second": [3, 4]}, "[1, 2, 4]"),
        ("sets.jaccard_index", {"first": [1, 2], "second": [2, 3, 4]}, "0.25"),
        ("counting.combinations", {"n": 5, "k": 2}, "10"),
        ("counting.multisets", {"n": 3, "k": 2}, "6"),
        ("counting.word_arrangements", {"text": "level"}, "30"),  # 5! / (2! 2!)
        ("counting.stirling_number", {"n": 4, "k": 2}, "7"),
        ("counting.fixed_point_permutations", {"n": 4, "k": 1}, "8"),  # 4 choices, the other three deranged: 2 ways
        ("counting.integer_partitions", {"n": 5}, "7"),
        ("counting.josephus_survivor", {"n": 7, "step": 3}, "4"),
        ("geometry.heron_area", {"sides": [3, 4, 5]}, "6"),
        ("geometry.shoelace_area", {"xs": [0, 4, 0], "ys": [0, 0, 3]}, "6"),
        ("finance.compound_balance", {"amount": 100, "rate": 10, "years": 2}, "121"),
        ("finance.fewest_coins", {"cents": 88}, "6"),  # 50 20 10 5 2 1
        ("finance.change_ways", {"cents": 5}, "4"),  # 5, 2+2+1, 2+1+1+1, five ones
        ("units.celsius_to_fahrenheit", {"x": 37.5}, "99.5"),
        ("units.compass_direction", {"x": 315}, "northwest"),
        ("units.readable_bytes", {"x": 1536}, "1.5 KiB"),
        ("dates.days_between", {"start": "2024-02-28", "end": "2024-03-01"}, "2"),
        ("dates.workdays_between", {"start": "2024-03-01", "end": "2024-03-08"}, "5"),  # Friday to Friday
        ("dates.add_months", {"day": "2024-01-31", "months": 1}, "2024-02-29"),
        ("dates.next_weekday", {"day": "2024-03-15", "weekday": "Friday"}, "2024-03-22"),  # itself a Friday
        ("clock.add_minutes", {"time": "23:50", "minutes": 15}, "00:05"),
        ("clock.clock_hand_angle", {"time": "15:00"}, "90"),
        ("calendar.easter_sunday", {"year": 2024}, "2024-03-31"),
        ("calendar.zodiac_sign", {"day": "2024-03-21"}, "Aries"),
        ("calendar.zodiac_sign", {"day": "2024-12-22"}, "Capricorn"),
        ("calendar.friday_thirteenths", {"year": 2026}, "3"),  # February, March, November
        ("text.title_case", {"text": "green river"}, "Green River"),
        ("text.join_words", {"parts": ["a", "b", "c"]}, "a, b and c"),
        ("words.edit_distance", {"first": "kitten", "second": "sitting"}, "3"),
        ("words.soundex", {"word": "robert"}, "R163"),
        ("words.soundex", {"word": "tymczak"}, "T522"),
        ("words.plural", {"word": "berry"}, "berries"),
        ("words.pig_latin", {"word": "glove"}, "oveglay"),
        ("encoding.base64_encode", {"text": "sea"}, "c2Vh"),
        ("encoding.base32_encode", {"text": "f"}, "MY======"),  # RFC 4648
        ("encoding.morse_encode", {"text": "sos"}, "... --- ..."),
        ("encoding.vigenere_cipher", {"text": "attack", "key": "lemon"}, "lxfopv"),
        ("encoding.run_length_encode", {"text": "aaab"}, "3a1b"),
        ("hashing.crc32_checksum", {"text": "123456789"}, "cbf43926"),  # the published check value
        ("hashing.adler32_checksum", {"text": "Wikipedia"}, "11e60398"),
        ("hashing.fletcher16_checksum", {"text": "abcde"}, "c8f0"),
        ("hashing.fnv1a_hash", {"text": "a"}, "e40c292c"),
        ("hashing.md5_digest", {"text": "abc"}, "90015098"),  # RFC 1321
        ("hashing.sha256_digest", {"text": "abc"}, "ba7816bf"),  # FIPS 180
        ("hashing.luhn_check_digit", {"digits": "7992739871"}, "3"),
        ("hashing.isbn10_check_digit", {"digits": "030640615"}, "2"),
        ("hashing.ean13_check_digit", {"digits": "400638133393"}, "1"),
        ("network.broadcast_address", {"block": "10.1.4.0/22"}, "10.1.7.255"),
        ("network.usable_hosts", {"block": "10.0.0.0/24"}, "254"),
        ("network.address_to_number", {"ip": "1.2.3.4"}, "16909060"),
        ("network.ipv4_mapped_ipv6", {"ip": "1.2.3.4"}, "::ffff:102:304"),
        ("colours.complement_colour", {"colour": "#ff0000"}, "#00ffff"),
        ("colours.invert_colour", {"colour": "#ff8000"}, "#007fff"),
        ("colours.contrast_ratio", {"first": "#000000", "second": "#ffffff"}, "21"),
        ("colours.colour_to_cmyk", {"colour": "#ff0000"}, "[0, 100, 100, 0]"),
    ],
)
def test_answers_worked_out_by_hand(tool: str, arguments: dict[str, Any], result: str) -> None:
    assert WORLD.call(tool, arguments) == result


@pytest.mark.parametrize(
    ("tool", "arguments", "error"),
    [
        ("math.floor_division", {"a": 7, "b": 0}, ValueError),
        ("math.floor_division", {"a": 7}, TypeError),
        ("math.floor_division", {"a": 7, "b": 2, "c": 1}, TypeError),
        ("math.floor_division", {"a": "7", "b": 2}, TypeError),
        ("math.floor_division", {"a": True, "b": 2}, TypeError),
        ("math.square_root", {"x": -4}, ValueError),
        ("math.square_root", {"x": float("nan")}, ValueError),
        ("math.power", {"x": 2, "n": 10**9}, ValueError),
        ("finance.growth_rate", {"start": -1, "end": 8, "years": 3}, ValueError),  # a complex root
        ("fractions.simplify_fraction", {"x": "1e999999999"}, ValueError),
        ("dates.weekday_name", {"day": "17 March"}, ValueError),
        ("words.longest_word", {"items": "apple"}, TypeError),
        ("words.longest_word", {"items": []}, ValueError),
    ],
)
def test_bad_arguments_are_refused(tool: str, arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        WORLD.call(tool, arguments)


_HOSTILE: dict[Any, list[Any]] = {
    int: [0, -1, 1, 10**15, -(10**15), 4000],
    float: [0, -2.5, 1e15, -1e15, 1e-300, 101],
    str: ["", "z" * 400, "9" * 400, "1/0", "é\ud800", "0.0.0.0/0", "#12345g", "9999-12-31", "-1", "2e9"],
    list[int]: [[], [0] * 100, [10**15] * 100, [-1]],
    list[float]: [[], [0.0] * 100, [1e15] * 100, [-1.5]],
    list[str]: [[], [""], ["z" * 400] * 100],
}


def test_hostile_arguments_neither_hang_nor_escape() -> None:
    for id, tool in ENTRIES:
        hints = parameter_types(tool.function).values()
        for round in range(12):
            values = [_HOSTILE[getattr(hint, "__origin__", hint)] for hint in hints]
            arguments = {
                name: options[(round + 5 * place * (round // 3)) % len(options)]
                for place, (name, options) in enumerate(zip(tool.draw, values, strict=True))
            }
            start = time.monotonic()
            with contextlib.suppress(ValueError, TypeError):
                assert isinstance(WORLD.call(id, arguments), str)
            assert time.monotonic() - start < 2, (id, arguments)


# ---- what each tool is asked with


def _needs() -> Iterator[tuple[str, WorldTool, str]]:
    for id, tool in ENTRIES:
        for written in tool.needs + tool.unseen:
            yield id, tool, written


def test_every_tool_has_enough_needs_and_none_is_in_both_sets() -> None:
    for id, tool in ENTRIES:
        assert len(tool.needs) >= 3, id
        assert len(tool.unseen) >= 2, id
        assert list(tool.draw) == list(parameter_kinds(tool.function)), id
        train, unseen = ({parse_need(written).query for written in side} for side in (tool.needs, tool.unseen))
        assert not train & unseen, id


def test_every_need_shows_every_argument_once_and_brackets_one_query() -> None:
    for id, tool, written in _needs():
        need = parse_need(written)  # asserts the one bracket
        assert sorted(need.slots) == sorted(tool.draw), (id, written)
        assert "{" not in need.query, (id, written)
        assert not written.startswith("{"), (id, written)


def test_there_are_sixty_clauses_and_frames_enough_and_none_is_shared() -> None:
    assert len(set(TRAIN_WORDING.clauses)) >= 60
    assert len(set(UNSEEN_WORDING.clauses)) >= 30
    assert len(TRAIN_WORDING.chained + TRAIN_WORDING.chained_nouns) >= 6
    assert len(UNSEEN_WORDING.chained + UNSEEN_WORDING.chained_nouns) >= 3
    for part in ("clauses", "chained", "chained_nouns", "single_orders", "references", "appositions", "counted"):
        assert not set(getattr(TRAIN_WORDING, part)) & set(getattr(UNSEEN_WORDING, part)), part


def test_every_tool_has_many_arguments() -> None:
    for id, tool in ENTRIES:
        random = derive_random("arguments", id)
        drawn = {json.dumps({name: draw(random) for name, draw in tool.draw.items()}) for _ in range(1200)}
        assert len(drawn) >= (40 if id in NARROW else 200), (id, len(drawn))


# ---- the tasks


def _queries() -> dict[str, dict[bool, set[str]]]:
    """Tool id to its queries: False the train ones, True the unseen ones."""
    return {
        id: {
            False: {parse_need(written).query for written in tool.needs},
            True: {parse_need(written).query for written in tool.unseen},
        }
        for id, tool in ENTRIES
    }


def test_every_gold_answer_is_what_the_calls_give(tasks: dict[str, list[Task]]) -> None:
    queries = _queries()
    for split, made in tasks.items():
        for task in made:
            assert task.gold_calls is not None
            assert task.gold_tools == tuple(call.name for call in task.gold_calls)
            results = [WORLD.call(call.name, call.arguments) for call in task.gold_calls]
            assert task.gold_answer == results[-1]
            assert 0 < len(results[-1]) <= LONGEST_RESULT
            assert task.split == split
            for tool, query in zip(task.gold_tools, task.expert_queries, strict=True):
                assert query in queries[tool][split == "unseen_paraphrases"]
                assert query in task.instruction or query[:1].upper() + query[1:] in task.instruction


def _unshown(task: Task) -> list[list[Any]]:
    """Per call, the arguments that do not stand in the instruction as JSON."""
    assert task.gold_calls is not None
    return [
        [value for value in call.arguments.values() if shown(value) not in task.instruction] for call in task.gold_calls
    ]


def test_instructions_show_all_arguments_but_the_one_that_is_fed(tasks: dict[str, list[Task]]) -> None:
    for made in tasks.values():
        for task in made:
            first, *rest = _unshown(task)
            assert first == [], task
            for unshown in rest:
                assert len(unshown) <= 1, task
                assert task.gold_calls is not None
                fed = WORLD.call(task.gold_calls[0].name, task.gold_calls[0].arguments)
                assert [value if isinstance(value, str) else shown(value) for value in unshown] in ([], [fed]), task
            assert not set("{}") & set(task.instruction), task


def test_every_need_of_every_tool_renders_and_runs() -> None:
    for id, tool, written in _needs():
        random = derive_random("render", id, written)
        for _ in range(200):
            arguments = {name: settled(draw(random)) for name, draw in tool.draw.items()}
            try:
                result = WORLD.call(id, arguments)
            except ValueError:
                continue
            if 0 < len(result) <= LONGEST_RESULT:
                break
        else:
            pytest.fail(f"{id} draws no arguments with a short result")
        text = parse_need(written).text.format_map({name: shown(value) for name, value in arguments.items()})
        assert all(shown(value) in text for value in arguments.values())


def test_half_the_tasks_are_chains_of_two_tools_mostly_from_two_domains(tasks: dict[str, list[Task]]) -> None:
    for made in tasks.values():
        chained = [task for task in made if "chained" in task.tags]
        assert 0.45 < len(chained) / len(made) < 0.55
        domains = [{tool.split(".")[0] for tool in task.gold_tools or ()} for task in chained]
        for task, own in zip(chained, domains, strict=True):
            assert len(set(task.gold_tools or ())) == 2
            assert set(task.tags) == {"chained", *own}
        assert sum(len(own) == 2 for own in domains) > 0.8 * len(chained)
        assert len({task.gold_tools for task in chained}) >= 400


def test_six_in_ten_instructions_carry_a_clause(tasks: dict[str, list[Task]]) -> None:
    for split, made in tasks.items():
        clauses = SPLITS[split].wording.clauses
        carried = sum(any(clause in task.instruction for clause in clauses) for task in made)
        assert 0.56 < carried / len(made) < 0.66


def test_tools_are_gold_about_equally_often() -> None:
    golds = Counter(tool for task in WORLD.tasks("train", 6000, 3) for tool in task.gold_tools or ())
    seen = [doc.id for doc in WORLD.tools if doc.id not in WORLD.unseen_tools]
    mean = sum(golds.values()) / len(seen)
    assert min(golds[id] for id in seen) > 0.3 * mean
    assert max(golds.values()) < 3 * mean


# ---- the splits


def _calls(made: list[Task]) -> set[str]:
    return {json.dumps([call.name, call.arguments], sort_keys=True) for task in made for call in task.gold_calls or ()}


def test_no_call_is_shared_by_two_splits(tasks: dict[str, list[Task]]) -> None:
    splits = list(tasks)
    for place, split in enumerate(splits):
        for other in splits[place + 1 :]:
            assert not _calls(tasks[split]) & _calls(tasks[other]), (split, other)
    for split, made in tasks.items():
        low, high = SPLITS[split].arguments
        for task in made:
            for call in task.gold_calls or ():
                assert low <= call_hash(call.name, call.arguments) < high


def test_unseen_tools_are_gold_in_their_split_only(tasks: dict[str, list[Task]]) -> None:
    for split, made in tasks.items():
        golds = {tool for task in made for tool in task.gold_tools or ()}
        if split == "unseen_tools":
            assert golds == WORLD.unseen_tools
        else:
            assert not golds & WORLD.unseen_tools


def test_unseen_wording_never_stands_in_another_split(tasks: dict[str, list[Task]]) -> None:
    for split, made in tasks.items():
        absent = TRAIN_WORDING if split == "unseen_paraphrases" else UNSEEN_WORDING
        for task in made:
            assert not any(clause in task.instruction for clause in absent.clauses)


def test_every_fifth_tool_of_each_domain_is_unseen() -> None:
    for domain, tools in DOMAINS.items():
        unseen = [id for id in WORLD.unseen_tools if id.startswith(f"{domain}.")]
        assert len(unseen) == round(0.2 * len(tools))
    assert EmbeddedWorld.build(1).unseen_tools != WORLD.unseen_tools


def test_the_same_seeds_give_the_same_tasks_and_more_tasks_go_on() -> None:
    again = EmbeddedWorld.build(0)
    assert again.unseen_tools == WORLD.unseen_tools
    assert pickle.loads(pickle.dumps(WORLD)) == WORLD
    first = WORLD.tasks("dev", 40, 5)
    assert again.tasks("dev", 60, 5)[:40] == first
    assert [task.id for task in first[:2]] == ["dev-5-000000", "dev-5-000001"]
    assert WORLD.tasks("dev", 40, 6) != first
    assert WORLD.tasks("dev", 0, 5) == ()


def test_an_unknown_split_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no split 'test'.*train, dev, held_out, unseen_paraphrases, unseen_tools"):
        WORLD.tasks("test", 1, 0)
    with pytest.raises(UserError, match="count=-1"):
        WORLD.tasks("dev", -1, 0)
