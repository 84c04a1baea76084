"""Our Muon against torch's, on the matrices of the nano policy.

python -m tests.benchmarks.muon
"""

import torch

from tests.benchmarks.timing import print_figures, side_by_side
from train.nano.muon import Muon

SHAPES = [(128, 128)] * 24 + [(384, 128)] * 12 + [(128, 384)] * 6


def main() -> None:
    """Print both."""
    torch.manual_seed(0)
    matrices = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    for matrix in matrices:
        matrix.grad = torch.randn(matrix.shape)
    ours = Muon(matrices, lr=1e-3)
    theirs = torch.optim.Muon(matrices, lr=1e-3, adjust_lr_fn="match_rms_adamw")
    mine, peers, ratio = side_by_side(ours.step, theirs.step, names=("ours, fp32", "torch.optim.Muon"))
    print_figures(
        "muon",
        ours={"step_ms": round(1000 * mine, 2)},
        peer={"step_ms": round(1000 * peers, 2)},
        targets={"ratio": [round(ratio, 2), "≥ 1", ratio >= 1]},
    )


if __name__ == "__main__":
    main()
