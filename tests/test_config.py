"""Configs are strict: a typo, a wrong type or a doubled key is one line that says where and what instead."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest

from configs.load import dump_yaml, from_dict, is_override, load_config, to_dict
from configs.schema import RunConfig, config_path, load_run_config, preset_names
from retriever.base.errors import UserError
from rollout.types import Sampling


class Mood(StrEnum):
    CALM = "calm"
    KEEN = "keen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    threads: int = 1
    rate: float = 0.5
    aliases: Literal["off", "names"] = "off"
    cap: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Car:
    name: str
    engine: Engine = field(default_factory=Engine)
    seats: tuple[str, ...] = ()
    size: tuple[int, float] = (1, 2.0)
    electric: bool = False
    mood: Mood = Mood.CALM
    weights: Mapping[str, float] = field(default_factory=dict)
    key: int | str = 0
    home: Path = Path("runs")

    def __post_init__(self) -> None:
        if self.name == "refused":
            raise UserError("name=refused: give another")


Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_config(text: str) -> Path:
        path = tmp_path / "car.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_config


def test_every_kind_of_value_is_read(write: Write) -> None:
    text = """
name: beetle
engine: {threads: 1_000, rate: 1e-5, aliases: off, cap: null}
seats: [front, "1"]
size: [3, 4]
electric: true
mood: keen
weights: {a: 1, b: .5}
key: "010"
home: /tmp
"""
    assert load_config(Car, write(text)) == Car(
        name="beetle",
        engine=Engine(threads=1000, rate=1e-5, aliases="off", cap=None),
        seats=("front", "1"),
        size=(3, 4.0),
        electric=True,
        mood=Mood.KEEN,
        weights={"a": 1.0, "b": 0.5},
        key="010",
        home=Path("/tmp"),
    )


def test_whole_numbers_become_floats(write: Write) -> None:
    assert type(load_config(Car, write("name: x\nengine: {rate: 1}")).engine.rate) is float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nengine:\n  thread: 2", "car.yaml:3: unknown key engine.thread; did you mean engine.threads?"),
        ("name: x\nthreads: 2", "car.yaml:2: unknown key threads; did you mean engine.threads?"),
        ("name: x\nqqqq: 2", "car.yaml:2: unknown key qqqq; known here: name, engine, seats"),
        ("seats: []", "car.yaml:1: missing key name; give it a value"),
        ("name: x\nengine: {threads: two}", "car.yaml:2: engine.threads=two: expected a whole number"),
        ("name: x\nengine: {threads: 1.0}", "car.yaml:2: engine.threads=1.0: expected a whole number"),
        ("name: x\nengine: {threads: true}", "car.yaml:2: engine.threads=True: expected a whole number"),
        ("name: x\nengine: {threads: 010}", "car.yaml:2: engine.threads=010: expected a whole number"),
        ("name: x\nengine: {rate: true}", "car.yaml:2: engine.rate=True: expected a number"),
        ("name: x\nengine: {rate: .inf}", "car.yaml:2: engine.rate=.inf: expected a number"),
        ("name: x\nengine: {cap: much}", "car.yaml:2: engine.cap=much: expected a number"),
        ("name: x\nengine: {aliases: nams}", "engine.aliases=nams: expected one of off, names; did you mean names?"),
        ("name: x\nmood: clam", "car.yaml:2: mood=clam: expected one of calm, keen; did you mean calm?"),
        ("name: x\nelectric: yes", "car.yaml:2: electric=yes: expected true or false"),
        ("name: 7", "car.yaml:1: name=7: expected text; quote it"),
        ("name:", "car.yaml:1: name=nothing: expected text"),
        ("name: x\nseats: front", "car.yaml:2: seats=front: expected a list"),
        ("name: x\nseats: [front, 2]", "car.yaml:2: seats[1]=2: expected text"),
        ("name: x\nsize: [1]", "car.yaml:2: size=[1]: expected a list of 2"),
        ("name: x\nweights: {a: b}", "car.yaml:2: weights.a=b: expected a number"),
        ("name: x\nkey: [1]", "car.yaml:2: key=[1]: expected a whole number or text"),
        ("name: x\nengine: 3", "car.yaml:2: engine=3: expected a section of keys"),
        ("name: x\nname: y", "car.yaml:2: key 'name' is given twice (first at"),
        ("name: &a x\nhome: *a", "car.yaml:1: YAML anchors are not read here"),
        ("name: !!python/name:os.system x", "car.yaml:1: YAML tag"),
        ("name: x\n  y: [", "car.yaml:2: not valid YAML"),
        ("name: x\n---\nname: y", "car.yaml:2: not valid YAML"),
        ("- name", "car.yaml:1: expected keys and values at the top"),
        ("? [a]\n: b", "car.yaml:1: a key must be a plain word"),
        ("name: refused", "name=refused: give another"),
    ],
)
def test_a_mistake_is_one_line_that_names_key_place_and_remedy(write: Write, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(Car, write(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "car.yaml"
    path.write_bytes(b"name: \xff")
    with pytest.raises(UserError, match=r"not UTF-8 text \(byte 6\)"):
        load_config(Car, path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="config: no file at .*nowhere.yaml"):
        load_config(Car, tmp_path / "nowhere.yaml")


def test_overrides_win_and_are_as_strict(write: Write) -> None:
    path = write("name: x\nengine: {threads: 2, rate: 0.1}")
    car = load_config(Car, path, ["engine.threads=4", "engine.cap=3", "seats=[a, b]", "engine.threads=5"])
    assert car.engine == Engine(threads=5, rate=0.1, cap=3.0)
    assert car.seats == ("a", "b")
    for override, message in {
        "engine.thread=4": "override 'engine.thread=4': unknown key engine.thread; did you mean engine.threads?",
        "engine.threads=four": "override 'engine.threads=four': engine.threads=four: expected a whole number",
        "name.first=4": "override 'name.first=4': name={'first': 4}: expected text",
        "engine..threads=4": "override 'engine..threads=4': expected key=value",
        "seats=[a": "override 'seats=[a': not valid YAML",
    }.items():
        with pytest.raises(UserError) as caught:
            load_config(Car, path, [override])
        assert message in str(caught.value)


def test_overrides_are_told_from_files() -> None:
    assert is_override("grpo.lr=1e-5")
    assert is_override("name=")
    assert not is_override("runs/a=b.yaml")
    assert not is_override("quickstart")


def test_extends_merges_sections_and_replaces_values(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "car.yaml").write_text("name: base\nengine: {threads: 2, rate: 0.1}\nseats: [a, b]")
    (tmp_path / "child.yaml").write_text("extends: base/car.yaml\nname: child\nengine: {threads: 3}\nseats: [c]")
    car = load_config(Car, tmp_path / "child.yaml")
    assert (car.name, car.engine, car.seats) == ("child", Engine(threads=3, rate=0.1), ("c",))


def test_a_preset_can_be_extended_by_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: quickstart\nname: mine\ngrpo: {max_steps: 80}")
    config, preset = load_run_config(str(tmp_path / "mine.yaml"), []), load_run_config("quickstart", [])
    assert config == replace(preset, name="mine", grpo=replace(preset.grpo, max_steps=80))
    # A path means the file beside it, whatever it is called.
    (tmp_path / "quickstart.yaml").write_text("name: near\ngrpo: {max_steps: 7}")
    (tmp_path / "other.yaml").write_text("extends: quickstart.yaml\nname: other")
    assert load_run_config(str(tmp_path / "other.yaml"), []).grpo.max_steps == 7


def test_an_error_in_the_extended_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("name: x\nsaets: []")
    (tmp_path / "child.yaml").write_text("extends: base.yaml\nname: y")
    with pytest.raises(UserError, match=r"base.yaml:2: unknown key saets; did you mean seats\?"):
        load_config(Car, tmp_path / "child.yaml")


def test_extending_in_a_circle_or_from_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml")
    (tmp_path / "b.yaml").write_text("extends: a.yaml")
    with pytest.raises(UserError, match=r"extends itself \(a.yaml -> b.yaml -> a.yaml\)"):
        load_config(Car, tmp_path / "a.yaml")
    (tmp_path / "c.yaml").write_text("extends: nowhere.yaml")
    with pytest.raises(UserError, match="c.yaml:1: extends=nowhere.yaml: neither a file there nor a preset; presets: "):
        load_config(Car, tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("extends: quickstrat")
    with pytest.raises(UserError, match=r"extends=quickstrat: .*; did you mean quickstart\?"):
        load_config(Car, tmp_path / "c.yaml")


def test_what_is_dumped_is_read_back_equal(write: Write) -> None:
    car = Car(
        name="off",
        engine=Engine(rate=1e-7, aliases="names"),
        seats=("1", "true", "null", "1e5", "010", "2024-01-01", "a: b", ""),
        mood=Mood.KEEN,
        weights={"a": 0.1},
        key="7",
    )
    assert load_config(Car, write(dump_yaml(car))) == car
    assert from_dict(Car, to_dict(car), source="a manifest") == car


def test_presets_load_and_survive_a_round_trip(write: Write) -> None:
    assert {"quickstart", "qwen3_4b_lora_1gpu", "qwen3_4b_full_8gpu"} <= set(preset_names())
    for name in preset_names():
        config = load_run_config(name, [])
        assert config.name == name
        assert load_config(RunConfig, write(dump_yaml(config))) == config


def test_presets_name_deepspeed_files_that_ship() -> None:
    root = Path(__file__).parents[1]
    named = [load_run_config(name, []).grpo.deepspeed for name in preset_names()]
    assert [path for path in named if path is not None and not (root / path).is_file()] == []


def test_a_config_is_a_preset_or_a_file(tmp_path: Path) -> None:
    assert config_path("quickstart").name == "quickstart.yaml"
    with pytest.raises(UserError, match=r"config quickstrat: neither a file nor a preset; did you mean quickstart\?"):
        config_path("quickstrat")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env.max_serch_rounds=2", "did you mean env.max_search_rounds?"),
        ("group_size=4", "did you mean grpo.group_size?"),
        ("grpo.group_size=1", "grpo.group_size=1"),
        ("grpo.update=seperated", "did you mean separated?"),
        ("rollout.temperature=0", "rollout.temperature=0"),
        ("name=a/b", "name='a/b' cannot name a folder"),
        ("seed=-1", "seed=-1 is negative"),
        ("evaluation.temperature=-1", "evaluation.temperature=-1.0: give 0 (greedy) or more"),
        ("evaluation.temperature=inf", "evaluation.temperature=inf"),
        ("evaluation.top_p=0", "evaluation.top_p=0.0: give more than 0 and at most 1"),
        ("evaluation.top_k=-1", "evaluation.top_k=-1"),
        ("evaluation.min_p=1.5", "evaluation.min_p=1.5"),
        ("evaluation.stop=['']", "evaluation.stop=('',)"),
        ("evaluation.top_k=20", "change nothing at evaluation.temperature=0"),
    ],
)
def test_the_run_config_refuses_what_cannot_work(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_run_config("quickstart", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_evaluation_samples_as_its_config_says() -> None:
    overrides = ["evaluation.temperature=0.7", "evaluation.top_k=20", "evaluation.top_p=0.8", "evaluation.stop=[END]"]
    found = load_run_config("quickstart", overrides).evaluation.sampling(5)
    assert found == Sampling(temperature=0.7, max_new_tokens=5, top_k=20, top_p=0.8, stop=("END",))
    assert load_run_config("quickstart", []).evaluation.sampling(5) == Sampling(temperature=0.0, max_new_tokens=5)
