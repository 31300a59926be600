"""Owners of equal work, paths and stage settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from wsss.methods import FACTS, Facts
from wsss.settings import stage_settings
from wsss.settings.base import reading_of, setting
from wsss.settings.config import load
from wsss.settings.dataset import KindSection
from wsss.settings.faults import ConfigError
from wsss.settings.reading import as_read, run_settings
from wsss.settings.sections import Config, Section
from wsss.workflow.graph import Graph
from wsss.workflow.run_plan import records
from wsss.workflow.stages import STAGES

TWO = {
    "recipes": {
        "two": {"kind": "erasing", "seeds": {"rounds": {"count": 2}}},
        "tight": {"kind": "erasing", "seeds": {"claim": {"rel_threshold": 0.7}}},
    }
}


def graph(**values):
    return Graph(load(TWO, {"methods": ["cam", "erasing", "two", "tight"]}, values))


def test_cam_owns_the_first_round_of_every_erasing_method():
    g = graph()
    assert {g.round_source(m, 1) for m in g.config.methods} == {"cam"}


def test_equal_later_rounds_are_made_once():
    g = graph()
    assert g.round_source("two", 2) == "erasing"
    assert g.region_source("two", 2) == "erasing"


def test_another_claim_threshold_owns_its_regions_and_later_rounds():
    g = graph()
    assert g.region_source("tight", 1) == "tight"
    assert g.round_source("tight", 2) == "tight"


def test_an_owner_must_run_the_round():
    g = graph(methods=["cam", "two", "erasing"])
    assert [g.round_source("erasing", r) for r in (1, 2, 3)] == ["cam", "two", "erasing"]


def test_automatic_rounds_own_themselves_after_the_first():
    g = graph(
        recipes={**TWO["recipes"], "auto": {"kind": "erasing", "seeds": {"rounds": {"mode": "auto"}}}},
        methods=["cam", "auto", "erasing"],
    )
    assert [g.round_source("erasing", r) for r in (1, 2)] == ["cam", "erasing"]


def test_a_backbone_of_its_own_trains_its_own_first_round():
    g = graph(
        recipes={**TWO["recipes"], "fine": {"kind": "erasing", "backbone": {"output_stride": 8}}},
        methods=["cam", "erasing", "fine"],
    )
    assert g.round_source("fine", 1) == "fine"


def test_only_erasing_rounds_hide_earlier_regions():
    g = graph()
    assert g.earlier_regions("cam", 1) == g.earlier_regions("erasing", 1) == []
    assert len(g.earlier_regions("erasing", 3)) == 2


def test_cycle_zero_masks_are_shared_by_the_variants():
    g = graph()
    assert g.pseudo("erasing", "psl", 0) == g.pseudo("erasing", "plain", 0) != g.pseudo("erasing", "psl", 1)


def test_segmenters_may_start_from_the_methods_first_classifier():
    given = {"methods": ["erasing", "two"], "start": "classifier"}
    g = graph(segment=given, evaluate={"full_supervision": True})
    first = [f"{g.base}/cam/seeds/round-1/classifier.safetensors"]
    assert (
        g.starting_classifier("erasing", "plain", 0)
        == g.starting_classifier("two", "psl", 0)
        == g.starting_classifier("full", "plain", 0)
        == first
    )
    assert g.starting_classifier("erasing", "psl", 1) == []  # cycle 0's network
    assert graph(segment=given | {"cycle_start": "start"}).starting_classifier("erasing", "psl", 1) == first
    assert graph().starting_classifier("erasing", "plain", 0) == []


def test_stage_settings_hold_only_what_the_stage_reads():
    g, other = graph(), graph(pseudo={"crf": {"iterations": 5}})
    for stage in (
        "train_classifier",
        "extract_scores",
        "fuse_regions",
        "claim_regions",
        "make_seeds",
        "measure_scores",
    ):
        assert g.stage(stage, method="erasing", round=2) == other.stage(stage, method="erasing", round=2), stage
    assert g.stage("refine_masks", method="erasing", cycle=1) != other.stage("refine_masks", method="erasing", cycle=1)


def test_psl_settings_retrain_psl_alone():
    before, after = graph(), graph(segment={"psl": {"warmup": 0.9}})
    for variant, same in (("plain", True), ("psl", False)):
        assert (
            before.stage("train_segmenter", method="erasing", variant=variant)
            == after.stage("train_segmenter", method="erasing", variant=variant)
        ) is same
    assert before.stage("train_segmenter", method="full", variant="plain") == after.stage(
        "train_segmenter", method="full", variant="plain"
    )


UNREAD = [
    (
        "make_seeds",
        {"pseudo": {"seed": {"background": 0.1}}},
        {"pseudo": {"seed": {"kind": "scores", "cue": "constant"}}},
    ),
    ("make_seeds", {"pseudo": {"seed": {"region_threshold": 0.1}}}, {"pseudo": {"seed": {"kind": "regions"}}}),
    ("refine_masks", {"pseudo": {"crf": {"theta_alpha": 20.0}}}, {"pseudo": {"crf": {"preset": "custom"}}}),
    (
        "train_classifier",
        {"seeds": {"classifier": {"optimiser": {"momentum": 0.5}}}},
        {"seeds": {"classifier": {"optimiser": {"kind": "sgd"}}}},
    ),
    (
        "train_segmenter",
        {"segment": {"train": {"optimiser": {"gamma": 0.5}}}},
        {"segment": {"train": {"optimiser": {"schedule": "step"}}}},
    ),
    ("train_classifier", {"seeds": {"eps": {"overlap": 0.1}}}, {"seeds": {"eps": {"selection": "adaptive"}}}),
    ("train_classifier", {"seeds": {"prm": {"filter_value": 0.5}}}, {"seeds": {"prm": {"filter": "fixed"}}}),
]


@pytest.mark.parametrize(("stage", "change", "choice"), UNREAD)
def test_what_a_choice_leaves_unread_reruns_nothing(stage, change, choice):
    key = next(iter(change["seeds"])) if stage == "train_classifier" else ""
    method = key if key in FACTS else "erasing"
    other = {
        "pseudo": {"seed": {"kind": "scores"}, "refine": "crf"},
        "seeds": {"eps": {"selection": "naive"}},
    }  # reads none of the changes
    base = {"methods": list(dict.fromkeys([method, "erasing"]))}

    def given(*over: dict[str, Any]) -> Any:
        return Graph(load(base, *over)).stage(
            stage, method=method, variant="plain" if stage == "train_segmenter" else ""
        )

    assert given(other) == given(other, change)
    assert given(other, choice) != given(other, choice, change)


def sections_of(section: type[Section]) -> Iterator[type[Section]]:
    """A section and those in it."""
    yield section
    for field in section.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from sections_of(field.annotation)


VIEWS = [m for m in vars(stage_settings).values() if isinstance(m, type) and issubclass(m, Section)]
MARKED = [
    (section, name)
    for section in {s for view in [Config, *VIEWS] for s in sections_of(view)}
    for name in section.model_fields
]


def other_value(value: Any) -> Any:
    """A value of the same form that differs."""
    if isinstance(value, Section):
        name = next(iter(type(value).model_fields))
        return value.model_copy(update={name: other_value(getattr(value, name))})
    if isinstance(value, list):
        return [*value, 3]
    return f"{value}x" if isinstance(value, str) else (not value if isinstance(value, bool) else value + 1)


def test_every_condition_names_a_choice_of_its_section():
    """A misspelt one would set the user's value to the default whatever was chosen."""
    marked = 0
    for section, name in MARKED:
        for key, wanted in reading_of(section, name).read_if.items():
            annotation = section.model_fields[key].annotation
            kinds = list(section.kinds()) if issubclass(section, KindSection) else []
            choices = (True, False) if annotation is bool else get_args(annotation) or kinds
            assert wanted in choices, (section, name)
            defaults = {k: f.get_default(call_default_factory=True) for k, f in section.model_fields.items()}
            other = other_value(defaults[name])
            stage = next(iter(reading_of(section, name).read_by or ()), "")
            for choice in choices:
                given = section.model_construct(**defaults | {key: choice, name: other})
                read = getattr(as_read(given, stage=stage), name)
                assert (read == defaults[name]) is (choice != wanted), (section, name, choice)
            marked += 1
    assert marked >= 25


def test_every_stage_that_reads_a_key_exists():
    """A misspelt one would leave the user's value unread."""
    readers = {reader for section, name in MARKED for reader in reading_of(section, name).read_by or ()}
    assert readers <= set(STAGES)
    assert {"predict_masks", "extract_scores", "respond_peaks", "index_images"} <= readers


def test_a_segmenter_without_psl_predicts_without_its_settings():
    before, after = graph(), graph(segment={"psl": {"test_p": 0.3}})
    for variant, same in (("plain", True), ("psl", False)):
        assert (
            before.stage("predict_masks", method="erasing", variant=variant)
            == after.stage("predict_masks", method="erasing", variant=variant)
        ) is same


def test_a_refinement_that_is_none_reads_no_crf():
    plain = {"pseudo": {"refine": "none"}}
    graphs = [Graph(load(plain, {"pseudo": {"crf": {"iterations": n}}})) for n in (3, 4)]
    first, second = (g.stage("refine_masks", method="erasing", cycle=0) for g in graphs)
    assert first == second
    first, second = (g.stage("refine_masks", method="erasing", cycle=1) for g in graphs)
    assert first != second


def test_a_variant_may_choose_what_the_section_does_not_read():
    """The step schedule of a recipe has the factor of the section, which reads none."""
    given = {
        "segment": {
            "train": {"optimiser": {"gamma": 0.3}},
            "variants": ["stepped"],
            "recipes": {"stepped": {"train": {"optimiser": {"schedule": "step"}}}},
        }
    }
    assert graph(**given).stage("train_segmenter", method="erasing", variant="stepped").train.optimiser.gamma == 0.3


def test_a_stage_of_a_method_does_not_read_what_a_later_one_does():
    given = {
        "methods": ["cam", "esol", "esol_slow"],
        "segment": {"methods": []},
        "recipes": {"esol_slow": {"kind": "esol", "seeds": {"esol": {"shrinkage": {"lr": 1e-6}}}}},
    }
    g = Graph(load(given))
    assert [g.round_source("esol_slow", r) for r in (1, 2, 3)] == ["cam", "esol", "esol_slow"]
    assert "shrinkage" not in g.stage("extract_scores", method="esol", round=2).options
    assert g.stage("train_classifier", method="esol_slow", round=3).options["shrinkage"] == {"epochs": 2, "lr": 1e-6}
    plain = load({"methods": ["esol"], "segment": {"methods": []}})
    for change, first in (({"gamma": 0.5}, 3), ({"expansion": {"lr": 1e-6}}, 2)):
        changed = load(plain.model_dump(mode="json"), {"seeds": {"esol": change}})
        stages = [
            [Graph(c).stage("train_classifier", method="esol", round=r) for r in (1, 2, 3)] for c in (plain, changed)
        ]
        assert [r for r, (a, b) in enumerate(zip(*stages, strict=True), 1) if a != b] == list(range(first, 4))


def test_run_settings_leave_out_what_cannot_change_results():
    a = run_settings(load({"compute": {"workers": 0, "device": "cpu"}, "dataset": {"voc": {"root": "elsewhere"}}}))
    assert a == run_settings(load({"compute": {"workers": 1}}))
    assert a != run_settings(load({"compute": {"threads": 1}}))


def test_masks_to_take_away_are_refined_on_train_and_predicted_on_val():
    g = graph(segment={"variants": ["plain", "psl"]})
    assert g.final_masks("erasing", "train")[0].endswith("erasing/pseudo/psl/cycle-2/train-0.h5")
    assert g.final_masks("erasing", "val")[0].endswith("erasing/segment/psl/cycle-1/predictions/val-0.h5")
    assert g.final_masks("cam", "val") == []


EPS = {
    "segment": {"methods": []},
    "methods": ["cam", "eps", "eps_erasing", "eps_u2net", "eps_network"],
    "recipes": {
        "eps_u2net": {"kind": "eps", "saliency": {"kind": "u2net"}},
        "eps_network": {"kind": "eps", "pseudo": {"seed": {"kind": "scores", "cue": "network"}}},
    },
}


def test_methods_that_learn_from_the_same_saliency_share_their_rounds():
    g = Graph(load(EPS))
    assert [g.round_source(m, 1) for m in g.config.methods] == ["cam", "eps", "eps", "eps_u2net", "eps"]
    assert g.round_source("eps_erasing", 2) == "eps_erasing"


def test_a_method_reads_the_saliency_of_its_recipe():
    g = Graph(load(EPS))
    assert g.saliency("eps_u2net") == ["results/scenes/saliency/u2net/train-0.h5"]
    assert g.all_saliency() == [
        "results/scenes/saliency/barrier/train-0.h5",
        "results/scenes/saliency/u2net/train-0.h5",
    ]
    settings = [g.stage("estimate_saliency", cue=cue).model_dump()["saliency"]["kind"] for cue in ("barrier", "u2net")]
    assert settings == ["barrier", "u2net"]


def test_a_methods_own_settings_reach_that_method_alone():
    before, after = Graph(load(EPS)), Graph(load(EPS, {"seeds": {"eps": {"overlap": 0.2}}}))
    for stage in ("train_classifier", "extract_scores"):
        assert before.stage(stage, method="cam") == after.stage(stage, method="cam")
        assert before.stage(stage, method="eps") != after.stage(stage, method="eps")
        assert after.stage(stage, method="eps_erasing", round=2).options["overlap"] == 0.2


def test_erasing_over_another_packages_method_reads_that_methods_settings(monkeypatch):
    monkeypatch.setitem(FACTS, "lse", Facts(module="lse"))
    monkeypatch.setitem(
        FACTS, "lse_erasing", Facts(module="lse", erases=True, fuse="union", rounds=True, starts_as="lse", over="lse")
    )
    g = Graph(
        load(
            {
                "methods": ["lse", "lse_erasing"],
                "segment": {"methods": []},
                "seeds": {"custom": {"lse": {"sharpness": 4.0}}},
            }
        )
    )
    assert [g.round_source("lse_erasing", r) for r in (1, 2)] == ["lse", "lse_erasing"]
    assert g.stage("train_classifier", method="lse_erasing", round=2).options == {"sharpness": 4.0}


def test_what_score_maps_alone_read_does_not_train_again():
    recipes = {
        "small": {"kind": "cam", "seeds": {"scores": {"scales": [1.0]}}},
        "small_erasing": {"kind": "erasing", "seeds": {"scores": {"scales": [1.0]}}},
        "deep": {"kind": "prm", "seeds": {"prm": {"subpixel": 2}}},
        "few": {"kind": "prm", "seeds": {"prm": {"peak_threshold": 0.9}}},
    }
    g = Graph(
        load(
            {
                "methods": ["cam", "small", "erasing", "small_erasing", "prm", "deep", "few"],
                "recipes": recipes,
                "segment": {"methods": []},
            }
        )
    )
    assert [g.classifier(m, 1).split("/")[2] for m in g.config.methods] == [
        "cam",
        "cam",
        "cam",
        "cam",
        "prm",
        "deep",
        "prm",
    ]
    assert [g.round_source(m, 1) for m in g.config.methods] == ["cam", "small", "cam", "small", "prm", "deep", "few"]
    assert [g.classifier(m, 2).split("/")[2] for m in ("erasing", "small_erasing")] == [
        "erasing",
        "small_erasing",
    ]  # other scores hide other pixels
    files = [r.file for r in records(g, dict.fromkeys(g.config.methods, 1)) if r.kind == "classifier"]
    assert files == [g.training_record(m, 1) for m in g.config.methods]


class LseSection(Section):
    """Settings of a method of another package."""

    sharpness: float = setting(1.0, "of the pooling", gt=0)
    scale: float = setting(1.0, "of its score maps", read_by=("extract_scores",))
    later: int = setting(0, "of its second round", from_round=2)


def test_a_plug_ins_section_is_checked_and_says_when_its_keys_are_read(monkeypatch):
    monkeypatch.setitem(FACTS, "lse", Facts(module="lse", settings=LseSection))

    def given(**values):
        return {"methods": ["lse"], "segment": {"methods": []}, "seeds": {"custom": {"lse": values}}}

    g = Graph(load(given(sharpness=4.0, scale=2.0, later=5)))
    assert g.options("lse", 1, stage="train_classifier") == {"sharpness": 4.0}
    assert g.options("lse", 1, stage="extract_scores") == {"sharpness": 4.0, "scale": 2.0}
    assert g.options("lse", 2, stage="train_classifier") == {"sharpness": 4.0, "later": 5}
    with pytest.raises(ConfigError, match=r"seeds\.custom\.lse\.sharpnes: unknown key; did you mean 'sharpness'"):
        load(given(sharpnes=4.0))
