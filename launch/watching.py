"""What the rollout workers do, shown while they do it. Looked at from a thread of its own; nothing is decided by it."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from launch.display import Display
from retriever.base.errors import InfraError
from rollout.counts import since
from rollout.pool import Pool
from rollout.types import RolloutStatus

_OVER_S = 10.0  # rates are of the last so many seconds


@contextmanager
def watching(pool: Pool, display: Display) -> Iterator[None]:
    """Show the workers' status on `display` for as long as the body runs, and while anything is played."""
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(pool, display, over), name="watch the rollouts", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        display.status("")


def _watch(pool: Pool, display: Display, over: threading.Event) -> None:
    seen: deque[tuple[float, list[RolloutStatus]]] = deque()
    while not over.wait(display.status_every_s):
        try:
            now, statuses = time.monotonic(), pool.statuses()
        except InfraError:  # whoever plays will hear of it
            continue
        while len(seen) > 1 and seen[1][0] <= now - _OVER_S:
            seen.popleft()
        if seen:
            then, earlier = seen[0]
            display.status(status_line(earlier, statuses, seconds=now - then))
        seen.append((now, statuses))


def status_line(before: list[RolloutStatus], after: list[RolloutStatus], *, seconds: float) -> str:
    """What is going on, with rates over the `seconds` between; "" while nothing is played."""
    done, ever = since(before, after), since([], after)
    if not done.episodes_running + done.episodes_waiting:
        return ""
    versions = sorted({status.policy_version for status in after})
    policy = f"policy {versions[0]}" if len(versions) == 1 else f"policies {versions[0]} to {versions[-1]}"
    parts = [
        f"{done.episodes_running} episodes run, {done.episodes_waiting} wait, {done.episodes_finished / seconds:.1f}/s",
        f"tokens/s {done.decoded_tokens / seconds:,.0f} decoded, {done.prefilled_tokens / seconds:,.0f} prefilled, "
        f"{done.cached_tokens / seconds:,.0f} cached",
    ]
    if spent := done.queue_s + done.decode_s + done.tool_s:
        shares = (("queue", done.queue_s), ("decoding", done.decode_s), ("tools", done.tool_s))
        parts.append("time " + ", ".join(f"{what} {part / spent:.0%}" for what, part in shares))
    if ever.gate_judged:
        parts.append(f"gate {ever.gate_passed / ever.gate_judged:.0%}")
    if ever.episodes_retried:
        parts.append(f"{ever.episodes_retried} played again, {ever.episodes_lost} lost")
    return " · ".join([*parts, policy])
