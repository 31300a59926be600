"""When automatic rounds end: a pure rule over the rounds' figures (no torch)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from wsss.settings.sections import StopSection


def should_stop(metrics: Sequence[Mapping[str, float]], policy: StopSection) -> Literal["", "discard", "keep"]:
    """Decide whether the rounds end with the last of `metrics`.

    Args:
        metrics: Figures of rounds 1..r, in order: `final_loss` (mean loss of the last epoch) and `new_area` (share of
            the training pixels that the round is the first to claim, in [0, 1]).
        policy: The rule and its limits.

    Returns:
        "" to go on; "discard" to end without the last round, because its classifier no longer learns; "keep" to end
        with it, because it adds little.
    """
    last = metrics[-1]
    if policy.rule == "loss" and len(metrics) > 1 and last["final_loss"] > policy.loss_ratio * metrics[0]["final_loss"]:
        return "discard"
    if policy.rule == "area" and last["new_area"] < policy.min_new_area:
        return "keep"
    return ""


def rounds_until_stop(most: int, policy: StopSection, *, figures: Callable[[int], Mapping[str, float] | None]) -> int:
    """Count the rounds that `should_stop` leaves.

    Args:
        most: Largest number of rounds.
        policy: The rule and its limits.
        figures: Gives the figures of a round (from 1). It is asked in order until the rule stops. None: the round is
            not measured yet, so it is still to do.
    """
    metrics: list[Mapping[str, float]] = []
    for r in range(1, most + 1):
        if (measured := figures(r)) is None:
            return r
        metrics.append(measured)
        if verdict := should_stop(metrics, policy):
            return r - 1 if verdict == "discard" else r
    return most
