"""What every kind of mask proposals offers: `Proposer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wsss.files.index import ImageRow
from wsss.runtime.extras import require
from wsss.settings.kinds import PROPOSALS, load_class
from wsss.settings.sections import ProposalsSection


class Proposer:
    """A kind of mask proposals. To add one: a subclass in a module of its own, and an entry in wsss/settings/kinds.py.

    Its name is also a value of `instances.proposals.kind`, and the name of its section of settings, if it has any.
    """

    def __init__(self, settings: Any) -> None:
        """Keep the kind's own section of settings; None if it has none."""
        self.settings = settings

    def prepare(self, rows: Sequence[ImageRow]) -> None:
        """Check what the images of a shard need, before the first is worked on.

        Raises:
            ArtefactError: If something is missing.
        """

    def propose(self, row: ImageRow) -> np.ndarray:
        """Make or read the proposals of an image.

        Returns:
            (S, H, W) bool, best first.

        Raises:
            ArtefactError: If a file is missing, damaged or does not fit.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define propose")


def proposer_of(section: ProposalsSection) -> Proposer:
    """Return the kind that the settings choose. Imports its module.

    Raises:
        MissingExtraError: If the kind needs an extra that is not installed.
    """
    kind = PROPOSALS[section.kind]
    if kind.extra:
        require(kind.extra, reason=f"instances.proposals.kind {section.kind!r}")
    proposer: Proposer = load_class(kind.place)(section.own)
    return proposer
