"""The registry of proposal kinds."""

from __future__ import annotations

from typing import get_args

import pytest

from wsss.settings.kinds import PROPOSALS, load_class
from wsss.settings.sections import ProposalsSection
from wsss.stages.instances.proposer import Proposer, proposer_of


def test_every_kind_of_the_settings_has_an_entry():
    assert list(get_args(ProposalsSection.model_fields["kind"].annotation)) == list(PROPOSALS)
    sections = set(ProposalsSection.model_fields) - {"kind"}
    assert sections <= set(PROPOSALS)


@pytest.mark.parametrize("kind", PROPOSALS)
def test_every_kind_is_a_proposer_with_its_own_settings(kind):
    entry = PROPOSALS[kind]
    section = ProposalsSection(kind=kind)
    proposer = proposer_of(section)
    assert isinstance(proposer, Proposer)
    assert type(proposer) is load_class(entry.place)
    assert proposer.settings == section.own
    assert entry.supervision.endswith(".")
    assert not entry.folder or hasattr(section.own, entry.folder)


def test_a_kind_says_what_it_misses():
    with pytest.raises(NotImplementedError, match="Proposer does not define propose"):
        Proposer(None).propose(None)
