"""The study's arithmetic: means over seeds, and what RL gained over each other arm."""

from typing import Any

from rich.console import Console

from launch.study import study_summary, study_tables


def block(pass_rate: float, all_gold: float, size: float | None) -> dict[str, Any]:
    found = {
        "pass_rate": pass_rate,
        "all_gold_selected": all_gold,
        "toolset_size": size,
        "selection_precision": 0.5,
        "recall_union": 0.75,
        "format_rate": 1.0,
    }
    return {name: value for name, value in found.items() if value is not None}  # what applied to no task is absent


SEEDS = {
    "0": {
        "stages": {
            "sft": {"held_out": block(0.3, 0.4, 3.0)},
            "rl": {"held_out": block(0.5, 0.6, 2.0)},
            "more_sft": {"held_out": block(0.4, 0.4, None)},
        }
    },
    "1": {
        "stages": {
            "sft": {"held_out": block(0.2, 0.4, 2.0)},
            "rl": {"held_out": block(0.6, 0.7, 2.0)},
            "more_sft": {"held_out": block(0.2, 0.5, 2.5)},
        }
    },
}


def test_means_and_gains() -> None:
    summary = study_summary(SEEDS)
    assert summary["means"]["rl"]["held_out"] == {
        "pass_rate": 0.55,
        "all_gold_selected": 0.65,
        "toolset_size": 2.0,
        "selection_precision": 0.5,
        "recall_union": 0.75,
        "format_rate": 1.0,
    }
    assert summary["means"]["more_sft"]["held_out"]["toolset_size"] == 2.5  # of the one seed that knows it
    assert summary["gains"] == {
        "rl_over_sft": {"held_out": {"pass_rate": 0.3, "all_gold_selected": 0.25, "toolset_size": -0.5}},
        "rl_over_more_sft": {"held_out": {"pass_rate": 0.25, "all_gold_selected": 0.2, "toolset_size": -0.5}},
    }
    assert summary["seeds"] == SEEDS


def test_tables_print_every_seed() -> None:
    console = Console(width=200, record=True)
    for table in study_tables(list(SEEDS.values())):
        console.print(table)
    text = console.export_text()
    assert "55.0 (50 60)" in text
    assert "+30.0 (+20 +40)" in text
    assert "-0.50 (-1.00 +0.00)" in text


def test_chained_tasks_stand_beside_the_raw_instruction_at_equal_size() -> None:
    chained = {"pass_rate": 0.2, "all_gold_selected": 0.41}
    seed = {
        "stages": {"rl": {"held_out": {**block(0.5, 0.6, 2.0), "groups": {"chained": chained}}}},
        "baseline": {"held_out": {"groups": {"chained": {"equal_size": {"rl": {"all_gold_selected": 0.23}}}}}},
    }
    console = Console(width=200, record=True)
    console.print(study_tables([seed, seed])[0])
    (row,) = [line for line in console.export_text().splitlines() if "cold start + RL" in line]
    assert [cell.strip() for cell in row.split("│")[-4:-1]] == ["20.0 (20 20)", "41.0 (41 41)", "23.0 (23 23)"]
