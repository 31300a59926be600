"""Which keys of a section are read."""

from __future__ import annotations

import pytest

from wsss.settings.base import Section, setting
from wsss.settings.reading import as_read, only_read
from wsss.settings.sections import ComputeSection, DatasetSection, SaliencySection
from wsss.settings.seed_methods import EpsSection, EsolSection, PrmSection
from wsss.settings.segment import PslSection

TRACED = {"peak_threshold", "response_subpixel", "batchnorm", "residual", "dead_ends", "inputs"}
ADAPTIVE = {"overlap", "warmup"}

UNREAD = [
    (EpsSection(), "train_classifier", 1, {"background_classes"}),
    (EpsSection(selection="naive"), "train_classifier", 1, {"background_classes", *ADAPTIVE}),
    (EpsSection(selection="predefined", background_classes=["sky"]), "train_classifier", 1, ADAPTIVE),
    (EsolSection(), "train_classifier", 2, {"gamma", "shrinkage"}),
    (EsolSection(), "train_classifier", 3, set()),
    (PrmSection(), "train_classifier", 1, {"filter_value", "scores", *TRACED}),
    (PrmSection(), "extract_scores", 1, {"filter_value"}),
    (PrmSection(filter="fixed"), "respond_peaks", 1, {"scores"}),
    (PslSection(), "predict_masks", 0, set(PslSection.model_fields) - {"enabled"}),
    (PslSection(enabled=True), "train_segmenter", 0, {"test_weighting", "test_p"}),
    (PslSection(enabled=True), "predict_masks", 0, set()),
    (ComputeSection(), "", 0, {"device", "workers"}),
]


@pytest.mark.parametrize(("section", "stage", "round", "unread"), UNREAD)
def test_what_is_left_unread(section, stage, round, unread):
    assert set(type(section).model_fields) - set(only_read(section, stage=stage, round=round)) == unread


def test_of_kinds_that_other_packages_add_the_chosen_one_alone_is_read():
    custom = {"mine": {"root": "a"}, "yours": {"root": "b"}}
    given = SaliencySection.model_construct(kind="mine", custom=custom)
    assert only_read(given) == {"kind": "mine", "custom": {"mine": {"root": "a"}}}
    assert as_read(given).custom == {"mine": {"root": "a"}}
    assert as_read(DatasetSection.model_construct(kind="voc", custom=custom)).custom == {}


class Inner(Section):
    """Keys of one stage, and of rounds from the third on."""

    late: int = setting(0, from_round=3)
    traced: int = setting(0, read_by=("respond_peaks",))


class Outer(Section):
    """A section in which another one lies."""

    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("stage", "round", "read"),
    [
        ("train_classifier", 2, {}),
        ("train_classifier", 3, {"late": 5}),
        ("respond_peaks", 1, {"traced": 6}),
        ("respond_peaks", 4, {"late": 5, "traced": 6}),
        ("respond_peaks", 0, {"late": 5, "traced": 6}),
    ],
)
def test_stage_and_round_count_at_any_depth(stage, round, read):
    given = Outer(inner=Inner(late=5, traced=6))
    assert only_read(given, stage=stage, round=round) == {"inner": read}
    assert as_read(given, stage=stage, round=round) == Outer(inner=Inner(**read))
