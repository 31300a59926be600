"""A data set as a kind's reader describes it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wsss.stages.dataset.faults import DataError, Faults
from wsss.stages.dataset.source import Description


def gathered(read: Callable[[Any, Faults], Description], settings: object) -> tuple[Description, str]:
    """The description and the text of its faults."""
    faults = Faults()
    found = read(settings, faults)
    try:
        faults.stop("here")
    except DataError as error:
        return found, str(error)
    return found, ""
