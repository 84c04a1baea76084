"""Micro-batches: alike on every rank in number and rows, every segment once, and what is added carries no loss."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.batches import Batch, micro_batches
from train.segments import Objective, Segment

PAD = 999


def segment(*ids: int, trained: int, advantage: float = 0.5) -> Segment:
    """The last `trained` ids carry loss."""
    mask = tuple(place >= len(ids) - trained for place in range(len(ids)))
    return Segment(
        ids=ids,
        action_mask=mask,
        behaviour_logprobs=tuple(-1.0 - place if acts else 0.0 for place, acts in enumerate(mask)),
        advantages=tuple(advantage if acts else 0.0 for acts in mask),
        objective=Objective.EXECUTION,
    )


def all_ranks(segments: list[Segment], *, world_size: int, rows: int) -> list[list[Batch]]:
    return [
        micro_batches(segments, rank=rank, world_size=world_size, rows=rows, pad_id=PAD) for rank in range(world_size)
    ]


def lists(batch: Batch) -> dict[str, Any]:
    names = ("ids", "attention_mask", "loss_mask", "behaviour_logprobs", "advantages")
    return {name: getattr(batch, name).tolist() for name in names}


def test_three_segments_on_two_ranks_by_hand() -> None:
    long, short, middle = (
        segment(1, 2, 3, 4, trained=2),
        segment(5, 6, trained=1),
        segment(7, 8, 9, trained=2, advantage=-2),
    )
    (one,), (other,) = all_ranks([long, short, middle], world_size=2, rows=2)
    assert lists(one) == {  # the shortest and the longest
        "ids": [[5, 6, PAD, PAD], [1, 2, 3, 4]],
        "attention_mask": [[1, 1, 0, 0], [1, 1, 1, 1]],
        "loss_mask": [[0, 1, 0, 0], [0, 0, 1, 1]],
        "behaviour_logprobs": [[0, -2, 0, 0], [0, 0, -3, -4]],
        "advantages": [[0, 0.5, 0, 0], [0, 0, 0.5, 0.5]],
    }
    assert lists(other) == {  # the one between, and a row of nothing
        "ids": [[7, 8, 9], [PAD, PAD, PAD]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "loss_mask": [[0, 1, 1], [0, 0, 0]],
        "behaviour_logprobs": [[0, -2, -3], [0, 0, 0]],
        "advantages": [[0, -2, -2], [0, 0, 0]],
    }
    assert one.token_count == other.token_count == 2 + 1 + 2
    assert (one.first_trained, other.first_trained) == (1, 1)
    assert one.objective is other.objective is Objective.EXECUTION


def test_what_no_row_trains_is_prompt() -> None:
    (batch,) = micro_batches(
        [segment(1, 2, 3, 4, trained=1), segment(5, 6, 7, trained=1)], rank=0, world_size=1, rows=2, pad_id=PAD
    )
    assert batch.first_trained == 2
    (last,) = micro_batches([segment(1, 2, 3, 4, trained=1)], rank=0, world_size=1, rows=1, pad_id=PAD)
    assert last.first_trained == 2  # TRL takes values of one column for values of whole sequences
    (_, (empty,)) = all_ranks([segment(1, 2, 3, trained=1)], world_size=2, rows=1)
    assert empty.first_trained == 1


def test_a_rank_may_hold_no_work_at_all() -> None:
    ranks = all_ranks([segment(1, 2, 3, trained=2)], world_size=4, rows=8)
    assert [len(batches) for batches in ranks] == [1] * 4
    for (batch,) in ranks[1:]:
        assert batch.ids.shape == (1, 3)
        assert batch.loss_mask.sum() == 0
        assert batch.attention_mask.tolist() == [[1, 0, 0]]  # attention over nothing would divide by zero
        assert batch.token_count == 2


def test_nothing_to_train_is_no_batch_on_any_rank() -> None:
    assert all_ranks([], world_size=3, rows=2) == [[], [], []]


def test_a_segment_of_one_token_has_a_place_to_predict_it_from() -> None:
    (batch,) = micro_batches([segment(1, trained=0)], rank=0, world_size=1, rows=1, pad_id=PAD)
    assert batch.ids.tolist() == [[1, PAD, PAD]]


@st.composite
def some_segments(draw: st.DrawFn) -> list[Segment]:
    lengths = draw(st.lists(st.integers(1, 12), max_size=14))
    segments = []
    for number, length in enumerate(lengths):
        ids = [1000 + number, *draw(st.lists(st.integers(0, 3), min_size=length, max_size=length))]
        segments.append(segment(*ids, trained=draw(st.integers(1, length)), advantage=draw(st.floats(-3, 3, width=32))))
    return segments


@given(some_segments(), st.integers(1, 4), st.integers(1, 4))
def test_ranks_are_alike_and_share_the_work(segments: list[Segment], world_size: int, rows: int) -> None:
    ranks = all_ranks(segments, world_size=world_size, rows=rows)
    assert len({len(batches) for batches in ranks}) == 1
    assert len(ranks[0]) == -(-len(segments) // (rows * world_size))
    for micro in zip(*ranks, strict=True):
        assert len({batch.ids.shape[0] for batch in micro}) == 1
        assert 1 <= micro[0].ids.shape[0] <= rows

    found: list[tuple[Any, ...]] = []
    for batch in (batch for batches in ranks for batch in batches):
        assert batch.token_count == sum(segment.action_tokens for segment in segments)
        assert batch.ids.shape == batch.loss_mask.shape == batch.attention_mask.shape
        assert batch.ids.shape == batch.behaviour_logprobs.shape == batch.advantages.shape
        assert batch.ids.shape[1] >= 2
        assert not batch.loss_mask[:, 0].any()  # the first token has nothing to be predicted from
        assert not (batch.loss_mask & ~batch.attention_mask & 1).any()
        assert torch.equal(batch.behaviour_logprobs, batch.behaviour_logprobs * batch.loss_mask)
        assert torch.equal(batch.advantages, batch.advantages * batch.loss_mask)
        assert batch.attention_mask.sum(1).min() >= 1
        for row in range(batch.ids.shape[0]):
            length = int(batch.attention_mask[row].sum())
            assert batch.attention_mask[row, :length].all()  # padded right
            assert (batch.ids[row, length:] == PAD).all()
            if batch.ids[row, 0] == PAD:  # a row of nothing
                assert not batch.loss_mask[row].any()
                continue
            values = (batch.ids, batch.loss_mask.bool(), batch.behaviour_logprobs, batch.advantages)
            found.append(tuple(tuple(value[row, :length].tolist()) for value in values))
    wanted = [(s.ids, s.action_mask, s.behaviour_logprobs, s.advantages) for s in segments]
    assert sorted(found) == sorted(wanted)  # every segment once, whole, over all ranks
    assert sum(int(batch.loss_mask.sum()) for batches in ranks for batch in batches) == sum(
        segment.action_tokens for segment in segments
    )


@given(some_segments(), st.integers(1, 3))
def test_the_order_of_segments_changes_nothing(segments: list[Segment], world_size: int) -> None:
    forward = all_ranks(segments, world_size=world_size, rows=2)
    backward = all_ranks(segments[::-1], world_size=world_size, rows=2)
    assert [list(map(lists, rank)) for rank in forward] == [list(map(lists, rank)) for rank in backward]


def test_rows_of_like_length_stand_together() -> None:
    segments = [segment(*range(length), trained=1) for length in (9, 2, 8, 3)]
    batches = micro_batches(segments, rank=0, world_size=1, rows=2, pad_id=PAD)
    assert [batch.ids.shape for batch in batches] == [(2, 3), (2, 9)]


def test_segments_keep_their_lengths_together() -> None:
    with pytest.raises(AssertionError):
        Segment(
            ids=(1, 2), action_mask=(True,), behaviour_logprobs=(0.0,), advantages=(0.0,), objective=Objective.COUPLED
        )
