"""Sections whose kind chooses what is read."""

from __future__ import annotations

import pytest

from wsss.settings.config import load
from wsss.settings.faults import ConfigError
from wsss.settings.kinds import DATASETS, SALIENCY, kind_modules, load_class
from wsss.settings.reading import only_read
from wsss.settings.sections import Config, DatasetSection, SaliencySection
from wsss.stages.dataset.source import Source
from wsss.stages.saliency.estimator import Estimator


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"dataset": {"kind": "vok"}}, "dataset: kind 'vok' is not installed; did you mean 'voc'?"),
        ({"dataset": {"kind": "kind"}}, "dataset: kind 'kind' is not installed; known: scenes, voc, folder, coco"),
        ({"saliency": {"kind": "custom"}}, "saliency: kind 'custom' is not installed; known: barrier, u2net"),
        ({"dataset": {"custom": {"x": {}}}}, "dataset: custom.x: no other package adds such a kind; known: none"),
        ({"saliency": {"custom": {"u2net": {}}}}, "saliency: custom.u2net: no other package adds such a kind"),
        ({"dataset": {"folder": {"tags": "x.csv"}}}, "dataset.folder.tags: this key is now `labels`; rename it"),
    ],
)
def test_what_is_refused(values: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(values)
    assert expected in str(caught.value)


@pytest.mark.parametrize("kind", DATASETS)
def test_every_kind_of_data_set_has_a_class_and_its_settings(kind: str) -> None:
    section = DatasetSection(kind=kind)
    assert issubclass(load_class(section.place), Source)
    assert section.own is getattr(section, kind)
    assert kind_modules({"dataset": section.model_dump()}) == (f"wsss.stages.dataset.{kind}",)


@pytest.mark.parametrize("kind", SALIENCY)
def test_every_kind_of_saliency_has_a_class_and_its_settings(kind: str) -> None:
    section = SaliencySection(kind=kind)
    modules = kind_modules({"saliency": section.model_dump()})
    if kind == "none":
        assert (section.place, section.own, modules) == ("", {}, ())
        return
    assert issubclass(load_class(section.place), Estimator)
    assert section.own is getattr(section, kind)
    assert modules == (f"wsss.stages.saliency.{kind}",)
    assert not SALIENCY[kind].folder or hasattr(section.own, SALIENCY[kind].folder)


def test_what_the_kind_does_not_choose_is_not_read() -> None:
    assert set(only_read(Config().dataset)) == {"kind", "scenes", "custom"}
    assert only_read(Config().dataset)["custom"] == {}
    other = DatasetSection.model_construct(kind="mine", custom={"mine": {"root": "a"}, "yours": {"root": "b"}})
    assert only_read(other) == {"kind": "mine", "custom": {"mine": {"root": "a"}}}
