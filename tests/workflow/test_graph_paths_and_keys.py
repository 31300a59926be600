"""What makes two rounds equal, every path in full, and what each stage reads."""

from __future__ import annotations

import pytest

from wsss.methods import FACTS, Facts
from wsss.settings.config import load
from wsss.workflow.graph import Graph
from wsss.workflow.run_plan import measured, records

from .test_graph import graph

# ---------------------------------------------------------------- what makes two rounds equal


def changed_round(change: dict, round: int = 1, kind: str = "erasing") -> tuple[bool, bool, bool]:
    """Whether a recipe that differs by `change` shares network, scores and regions of a round with the plain one."""
    recipes = {"plain": {"kind": kind}, "other": {"kind": kind, **change}}
    g = Graph(load({"methods": ["plain", "other"], "recipes": recipes, "segment": {"methods": []}}))
    return (
        g.classifier("other", round) == g.classifier("plain", round),
        g.round_source("other", round) == "plain",
        g.region_source("other", round) == "plain",
    )


DIFFERING = [
    ({"seeds": {"classifier": {"epochs": 3}}}, (False, False, False)),
    ({"seeds": {"classifier": {"augment": {"crop": 96}}}}, (False, False, False)),
    ({"seeds": {"classifier": {"optimiser": {"lr": 0.5}}}}, (False, False, False)),
    ({"backbone": {"output_stride": 8}}, (False, False, False)),
    ({"seeds": {"scores": {"scales": [1.0]}}}, (True, False, False)),
    ({"seeds": {"claim": {"rel_threshold": 0.7}}}, (True, True, False)),
]


@pytest.mark.parametrize(("change", "expected"), DIFFERING)
def test_a_first_round_is_shared_where_all_that_it_reads_is_equal(change, expected):
    """Network, scores and regions, each with what it reads and nothing else."""
    assert changed_round(change) == expected


@pytest.mark.parametrize("change", [change for change, _ in DIFFERING])
def test_a_later_erasing_round_reads_all_that_the_rounds_before_did(change):
    assert changed_round(change, round=2) == (False, False, False)


def test_rounds_of_one_recipe_are_shared_whatever_the_later_stages_read():
    for change in ({"pseudo": {"refine": "crf"}}, {"segment": {"train": {"epochs": 3}}}):
        for round in (1, 2):
            assert changed_round(change, round=round) == (True, True, True)


# ---------------------------------------------------------------- shards, folders, and the trees of files


def sharded(**values):
    return graph(compute={"shards": {"train": 3, "val": 2}}, **values)


def test_each_split_has_its_own_number_of_shards():
    g = sharded()
    assert g.shards("train") == ["train-0", "train-1", "train-2"]
    assert g.shards("val") == ["val-0", "val-1"]
    folder = "results/scenes/erasing/segment/psl/cycle-1/predictions"
    assert g.predictions("erasing", "psl", 1, "val") == [f"{folder}/val-{n}.h5" for n in range(2)]
    assert g.predictions("erasing", "psl", 1, "train") == [f"{folder}/train-{n}.h5" for n in range(3)]


def test_paths_in_full():
    g, base = sharded(), "results/scenes"
    shards = [f"train-{n}.h5" for n in range(3)]
    assert g.dataset("index.csv") == f"{base}/dataset/index.csv"
    assert g.scores("tight", 2) == [f"{base}/tight/seeds/round-2/scores/{s}" for s in shards]
    assert g.scores("tight", 1) == [f"{base}/cam/seeds/round-1/scores/{s}" for s in shards]
    assert g.regions("tight", 1) == [f"{base}/tight/seeds/round-1/regions/{s}" for s in shards]
    assert g.classifier("tight", 1) == f"{base}/cam/seeds/round-1/classifier.safetensors"
    assert g.round_metrics("tight", 1) == f"{base}/tight/seeds/round-1/metrics.json"
    assert g.fused("tight") == [f"{base}/tight/seeds/fused/{s}" for s in shards]
    assert g.seed_masks("tight") == [f"{base}/tight/pseudo/seed/{s}" for s in shards]
    assert g.pseudo("tight", "psl", 1) == [f"{base}/tight/pseudo/psl/cycle-1/{s}" for s in shards]
    assert g.pseudo("tight", "psl", 0) == [f"{base}/tight/pseudo/plain/cycle-0/{s}" for s in shards]
    assert g.pseudo("full", "plain", 0) == []


def test_a_round_hides_the_regions_of_all_rounds_before_it():
    g = sharded()
    assert g.earlier_regions("erasing", 3) == [*g.regions("erasing", 1), *g.regions("erasing", 2)]
    assert g.earlier_regions("erasing", 2) == g.regions("erasing", 1)


def test_cycles_start_from_the_one_before_only_where_they_are_told_to():
    g = graph(segment={"cycle_start": "previous"})
    assert g.previous_segmenter("erasing", "psl", 1) == [
        "results/scenes/erasing/segment/psl/cycle-0/segmenter.safetensors"
    ]
    assert g.previous_segmenter("erasing", "psl", 0) == []
    assert graph(segment={"cycle_start": "start"}).previous_segmenter("erasing", "psl", 1) == []


def test_first_pseudo_masks_belong_to_plain_or_else_to_the_first_variant():
    recipes = {"a": {}, "b": {}}
    assert graph(segment={"variants": ["a", "plain"], "recipes": recipes}).pseudo_source("a", 0) == "plain"
    g = graph(segment={"variants": ["a", "b"], "recipes": recipes})
    assert [g.pseudo_source(v, c) for v, c in (("b", 0), ("b", 1), ("a", 1))] == ["a", "b", "a"]


# ---------------------------------------------------------------- what each stage reads


@pytest.mark.parametrize("value", [{"test_weighting": "none"}, {"test_p": 0.3}])
def test_what_prediction_alone_reads_does_not_train_again(value):
    before, after = graph(), graph(segment={"psl": value})
    for stage, same in (("train_segmenter", True), ("predict_masks", False)):
        given = {"method": "erasing", "variant": "psl"}
        assert (before.stage(stage, **given) == after.stage(stage, **given)) is same, stage


def test_the_first_masks_are_refined_as_set_and_those_of_cycles_by_the_crf():
    for refine in ("none", "crf"):
        g = graph(pseudo={"refine": refine, "crf": {"preset": "custom", "iterations": 7}})
        assert g.stage("refine_masks", method="erasing", cycle=0).refine == refine
        later = g.stage("refine_masks", method="erasing", cycle=1)
        assert (later.refine, later.crf.iterations) == ("crf", 7)


def test_stages_of_a_method_read_its_recipe():
    recipe = {
        "kind": "erasing",
        "seeds": {"scores": {"scales": [0.5]}, "claim": {"rel_threshold": 0.9}, "classifier": {"epochs": 5}},
        "pseudo": {"seed": {"saliency_threshold": 0.2}},
    }
    g = graph(methods=["own"], recipes={"own": recipe}, segment={"methods": []})
    assert g.stage("train_classifier", method="own", round=2).classifier.epochs == 5
    assert g.stage("extract_scores", method="own", round=2).scores.scales == [0.5]
    assert g.stage("claim_regions", method="own").claim.rel_threshold == 0.9
    assert g.stage("make_seeds", method="own").seed.saliency_threshold == 0.2
    assert g.stage("fuse_regions", method="own").kind == "erasing"
    assert [g.stage("train_classifier", method="own", round=r).kind for r in (1, 2)] == ["cam", "erasing"]
    assert [g.stage("train_classifier", method="own", round=r).round for r in (1, 2)] == [1, 2]


def test_stages_of_a_variant_read_its_recipe():
    recipes = {"large": {"network": "largefov", "predict": {"scales": [0.5]}}}
    g = graph(segment={"variants": ["plain", "large"], "recipes": recipes})
    given = [g.stage("train_segmenter", method="erasing", variant=v).network for v in ("plain", "large")]
    assert given == ["deeplabv3plus", "largefov"]
    given = [g.stage("predict_masks", method="erasing", variant=v).predict.scales for v in ("plain", "large")]
    assert given == [[1.25], [0.5]]


def test_trainings_are_given_the_seed_and_scores_the_sweep():
    g = graph(seed=7, evaluate={"threshold": 0.25, "sweep_max": 0.5, "sweep_steps": 11})
    assert g.stage("train_classifier", method="erasing", round=2).seed == 7
    assert g.stage("train_segmenter", method="erasing", variant="psl").seed == 7
    sweep = {"threshold": 0.25, "sweep_max": 0.5, "sweep_steps": 11}
    assert g.stage("measure_scores", method="erasing").model_dump() == sweep


def test_only_the_reference_is_fully_supervised():
    g = graph(evaluate={"full_supervision": True})
    assert g.stage("train_segmenter", method="full", variant="plain").full_supervision
    assert not g.stage("train_segmenter", method="erasing", variant="plain").full_supervision
    assert (g.cycles("full", "psl"), g.cycles("erasing", "psl")) == (1, g.config.segment.cycles)
    assert [g.stage("train_segmenter", method="erasing", variant="psl", cycle=c).cycle for c in (0, 1)] == [0, 1]


# ---------------------------------------------------------------- what is measured


def test_all_that_is_measured_is_listed_once():
    g = sharded(
        methods=["cam", "erasing"],
        segment={"methods": ["erasing"], "variants": ["plain", "psl"]},
        evaluate={"full_supervision": True},
    )
    rows = measured(g, {"cam": 1, "erasing": 2})
    names = [(r.method, r.name) for r in rows]
    assert len(set(names)) == len(names)
    assert [n for m, n in names if m == "cam"] == ["scores-round-1", "fused", "seed", "pseudo-plain-cycle-0"]
    predictions = [f"prediction-{v}-cycle-{s}" for v in ("plain", "psl") for s in ("0-train", "0-val")]
    later = ["pseudo-psl-cycle-1", "prediction-psl-cycle-1-train", "prediction-psl-cycle-1-val", "pseudo-psl-cycle-2"]
    made = ["scores-round-1", "scores-round-2", "fused", "seed", "pseudo-plain-cycle-0"]
    assert [n for m, n in names if m == "erasing"] == [*made, *predictions, *later]
    assert [n for m, n in names if m == "full"] == ["prediction-plain-cycle-0-train", "prediction-plain-cycle-0-val"]
    (exported,) = [r for r in rows if r.exported]
    assert (exported.name, exported.files, exported.split) == (
        "pseudo-psl-cycle-2",
        g.final_masks("erasing", "train"),
        "train",
    )
    val = next(r for r in rows if r.name == "prediction-psl-cycle-1-val")
    assert (val.split, val.variant, val.cycle, val.round) == ("val", "psl", 1, None)
    assert val.files == g.predictions("erasing", "psl", 1, "val")


def test_records_of_trainings_are_those_of_their_owners():
    g = graph(
        methods=["cam", "erasing"],
        segment={"methods": ["erasing"], "variants": ["psl"]},
        evaluate={"full_supervision": True},
    )
    found = records(g, {"cam": 1, "erasing": 2})
    assert [(r.method, r.kind, r.round, r.cycle) for r in found] == [
        ("cam", "classifier", 1, None),
        ("cam", "round", 1, None),
        ("erasing", "classifier", 1, None),
        ("erasing", "round", 1, None),
        ("erasing", "classifier", 2, None),
        ("erasing", "round", 2, None),
        ("erasing", "segmenter", None, 0),
        ("erasing", "segmenter", None, 1),
        ("full", "segmenter", None, 0),
    ]
    assert found[2].file == "results/scenes/cam/seeds/round-1/training.json"
    assert found[4].file == "results/scenes/erasing/seeds/round-2/training.json"
    assert found[-1].file == "results/scenes/full/segment/plain/cycle-0/metrics.json"


# ---------------------------------------------------------------- kinds


def test_two_kinds_with_the_same_settings_share_nothing(monkeypatch):
    for kind in ("lse", "mil"):
        monkeypatch.setitem(FACTS, kind, Facts(module=kind))
    g = Graph(load({"methods": ["lse", "mil"], "segment": {"methods": []}}))
    assert [g.round_source(m, 1) for m in ("lse", "mil")] == ["lse", "mil"]


def test_a_first_round_hides_nothing_whatever_its_kind(monkeypatch):
    """An erasing kind of another package that starts as itself.

    Another claim makes other regions, not another network.
    """
    monkeypatch.setitem(FACTS, "peeling", Facts(module="peeling", erases=True, fuse="union", rounds=True))
    assert changed_round({"seeds": {"claim": {"rel_threshold": 0.7}}}, kind="peeling") == (True, True, False)
    assert changed_round({"seeds": {"scores": {"scales": [1.0]}}}, kind="peeling") == (True, False, False)


def test_the_largest_number_of_rounds():
    def largest(**rounds):
        return Graph(
            load({"methods": ["erasing"], "seeds": {"rounds": rounds}, "segment": {"methods": []}})
        ).max_rounds("erasing")

    assert largest(mode="fixed", count=2, max=4) == 2
    assert largest(mode="auto", count=2, max=4) == 4
    assert (
        Graph(load({"methods": ["cam", "esol"], "segment": {"methods": []}})).max_rounds("esol")
        == FACTS["esol"].length
        == 3
    )


def test_a_round_that_inherits_starts_from_the_round_before():
    g = Graph(load({"methods": ["esol"], "segment": {"methods": []}}))
    assert g.previous_classifier("esol", 1) == []
    for round in (2, 3):
        assert g.previous_classifier("esol", round) == [
            f"results/scenes/esol/seeds/round-{round - 1}/classifier.safetensors"
        ]
    assert graph().previous_classifier("erasing", 2) == []


def test_without_saliency_no_map_is_asked_for():
    none = {
        "methods": ["cam"],
        "saliency": {"kind": "none"},
        "pseudo": {"seed": {"kind": "scores", "cue": "constant"}},
        "segment": {"methods": []},
    }
    assert Graph(load(none)).saliency("cam") == Graph(load(none)).all_saliency() == []
