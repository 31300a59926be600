"""How long a training is and how its learning rate falls (no torch, so that `wsss plan` can ask)."""

from __future__ import annotations

import math

from wsss.settings.sections import OptimiserSection, TrainingSection


def epochs_of(settings: TrainingSection, *, steps: int) -> int:
    """Epochs of a training.

    Args:
        settings: Asked-for epochs, and the fewest steps that the training must have.
        steps: Steps an epoch, at least 1.

    Returns:
        `settings.epochs`, or as many as make `settings.min_steps` steps.

    Example:
        >>> epochs_of(TrainingSection(epochs=2, min_steps=100), steps=30)
        4
    """
    return max(settings.epochs, math.ceil(settings.min_steps / steps))


def rate_factor(settings: OptimiserSection, *, step: int, steps: int, epoch: int) -> float:
    """Learning rate divided by its start.

    Args:
        settings: poly: (1 - step/steps)^power; step: gamma to the number of milestones passed.
        step: Steps done.
        steps: Steps of the whole training.
        epoch: Epochs done, on the scale of the milestones.

    Returns:
        The factor, in (0, 1].
    """
    if settings.schedule == "poly":
        return (1 - step / steps) ** settings.power
    return settings.gamma ** sum(epoch >= m for m in settings.milestones)
