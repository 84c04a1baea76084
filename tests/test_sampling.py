"""The draw: truncations by hand, and that tokens come as often as they are likely."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollout.sampling import draw
from rollout.types import Sampling

# exp of these logits: 8, 4, 2, 1, 1, over 16
LOGITS = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0]).log()
EVEN = [(index + 0.5) / 160 for index in range(160)]  # one number for each 160th of the distribution


def tokens(sampling: Sampling, uniform: Sequence[float] = EVEN, logits: torch.Tensor = LOGITS) -> list[int]:
    """What each random number draws."""
    drawn, _ = draw(logits.expand(len(uniform), -1), [sampling] * len(uniform), uniform)
    return drawn.tolist()


def counts(sampling: Sampling) -> list[int]:
    drawn = tokens(sampling)
    return [drawn.count(token) for token in range(len(LOGITS))]


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), [80, 40, 20, 10, 10]),
        (Sampling(temperature=0.0), [160, 0, 0, 0, 0]),
        # squared: 64, 16, 4, 1, 1, over 86; 160 · 64/86 = 119.07, 160 · 80/86 = 148.84 …
        (Sampling(temperature=0.5), [119, 30, 7, 2, 2]),
        (Sampling(top_k=2), [107, 53, 0, 0, 0]),  # 8 : 4
        (Sampling(top_p=0.5), [160, 0, 0, 0, 0]),  # the first alone reaches a half
        (Sampling(top_p=0.51), [107, 53, 0, 0, 0]),
        (Sampling(top_p=0.75), [107, 53, 0, 0, 0]),
        (Sampling(min_p=0.25), [91, 46, 23, 0, 0]),  # at least a quarter of the likeliest: 8 : 4 : 2
        # top_p counts among what top_k left: of 8 : 4 the first has two thirds
        (Sampling(top_k=2, top_p=0.66), [160, 0, 0, 0, 0]),
        (Sampling(top_k=1, temperature=5.0), [160, 0, 0, 0, 0]),
    ],
)
def test_tokens_come_as_often_as_their_share_of_what_is_kept(sampling: Sampling, expected: list[int]) -> None:
    assert counts(sampling) == pytest.approx(expected, abs=1)
    assert sum(counts(sampling)) == 160


def test_rows_keep_their_own_settings() -> None:
    samplings = [Sampling(temperature=0.0), Sampling(top_k=1), Sampling(), Sampling(temperature=2.0)]
    drawn, logprobs = draw(LOGITS.expand(4, -1), samplings, [0.99] * 4)
    assert drawn.tolist() == [0, 0, 4, 4]
    roots = sum(math.sqrt(weight) for weight in (8, 4, 2, 1, 1))
    assert logprobs.tolist() == pytest.approx([math.log(x) for x in (8 / 16, 8 / 16, 1 / 16, 1 / roots)], abs=1e-6)


@given(seed=st.integers(0, 10_000), size=st.integers(1, 1500), uniform=st.floats(0, 1, exclude_max=True))
def test_the_draw_in_blocks_is_the_draw_of_one_scan(seed: int, size: int, uniform: float) -> None:
    logits = torch.randn(1, size, generator=torch.Generator().manual_seed(seed)) * 4
    drawn, _ = draw(logits, [Sampling()], [uniform])
    cumulative = torch.log_softmax(logits, -1).double().exp().cumsum(-1)[0]
    below = float(cumulative[drawn[0] - 1]) if drawn[0] else 0.0
    at = uniform * float(cumulative[-1])
    assert below - 1e-12 <= at <= float(cumulative[drawn[0]]) + 1e-12


@given(seed=st.integers(0, 1000), uniform=st.sampled_from([0.0, 0.5, 1 - 2**-53]))
def test_a_token_that_was_cut_off_never_comes(seed: int, uniform: float) -> None:
    logits = torch.randn(1, 900, generator=torch.Generator().manual_seed(seed))
    kept = set(logits[0].topk(3).indices.tolist())
    assert set(tokens(Sampling(top_k=3), [uniform], logits)) <= kept
