"""Counts of the data set, and what taught a run."""

from __future__ import annotations

from dataclasses import replace

from tests.report.sample_run import make_run
from wsss.files.index import ImageIndex
from wsss.settings.config import load
from wsss.stages.report.data_facts import DataFacts, SplitFacts, data_facts
from wsss.stages.report.supervision import supervision
from wsss.workflow.graph import Graph
from wsss.workflow.rows import InstanceFiles
from wsss.workflow.run_plan import run_plan


def facts_of(*, train=4, val=2):
    """Four training and two validation images; so many of them have truth masks."""
    return DataFacts(
        classes=["disc", "box"],
        train=SplitFacts(images=4, measured=train, counts=[3, 3], labels=1.5),
        val=SplitFacts(images=2, measured=val, counts=[1, 1], labels=1.0),
    )


FACTS = facts_of()
NOTHING = facts_of(train=0, val=0)


def test_counts_of_images_classes_and_truth(tmp_path):
    run = make_run(tmp_path)
    facts = data_facts(ImageIndex(run.index))
    train = [i for i in run.truths if i not in ("img4", "img5")]
    assert facts.train.counts == [sum((run.truths[i] == c).any() for i in train) for c in (1, 2)]
    assert (facts.train.images, facts.val.measured) == (4, 2)
    assert facts.has_truth


def teachers(config, facts=FACTS, **proposals):
    """What taught a run of the configuration whose methods have instances from these proposals."""
    whole = load(config)
    plan = run_plan(Graph(whole), dict.fromkeys(whole.methods, 1))
    instances = [InstanceFiles(method=m, folder="", files=[], proposals=kind) for m, kind in proposals.items()]
    return supervision(replace(plan, instances=instances), facts)


def kinds(config, facts=FACTS, **proposals):
    return {t.heading: (t.kind, t.text) for t in teachers(config, facts, **proposals)}


def test_supervision_says_what_taught_the_run():
    assert kinds({})["Saliency"][0] == "none"
    assert "unsupervised" in kinds({})["Saliency"][1]
    assert "DUTS-TR" in kinds({"saliency": {"kind": "u2net"}})["Saliency"][1]
    assert "ImageNet" in kinds({})["Pretraining"][1]
    assert kinds({"backbone": {"weights": "none"}})["Pretraining"][0] == "none"
    assert "Reference" not in kinds({})
    assert kinds({"evaluate": {"full_supervision": True}})["Reference"][0] == "pixels"
    recipes = {"gt": {"psl": {"enabled": True, "test_weighting": "labels"}}}
    assert "Labels at prediction" in kinds({"segment": {"recipes": recipes}})
    assert "has none" in kinds({}, NOTHING)["Truth masks"][1]
    assert "no stage needed any" in kinds({}, NOTHING)["Truth masks"][1]


def test_proposals_are_listed_with_what_taught_them():
    assert "Proposals" not in kinds({}, prm="")
    kind, text = kinds({}, prm="watershed")["Proposals"]
    assert kind == "none"
    assert text.startswith("prm: ")
    kind, text = kinds({"methods": ["prm"], "segment": {"methods": []}}, prm="folder")["Proposals"]
    assert kind == "given"
    assert "MCG and COB" in text
    assert text.startswith("Mask proposals were given")  # every method uses them
    kind, text = kinds({}, prm="watershed", best="truth")["Proposals"]  # the last of the two
    assert kind == "truth"
    assert text.startswith("best: The true instances")


def test_truth_masks_are_said_to_be_read_by_what_reads_them():
    assert "Read by evaluation only: 4 training" in kinds({}, prm="watershed")["Truth masks"][1]
    text = kinds({}, prm="watershed", best="truth")["Truth masks"][1]
    assert "only" not in text
    assert text.startswith("Read by evaluation and by the proposals of best (true instances): 4 training")
    full = kinds({"evaluate": {"full_supervision": True}})["Truth masks"][1]
    assert full.startswith("Read by evaluation and by the training of “full”: ")
    assert "losses except those of “full”" in full
    assert "no stage needed any" not in kinds({}, NOTHING, best="truth")["Truth masks"][1]


def test_methods_with_saliency_of_their_own_are_named():
    mixed = {
        "methods": ["cam", "erasing", "cam_u2net"],
        "recipes": {"cam_u2net": {"kind": "cam", "saliency": {"kind": "u2net"}}},
    }
    texts = [t.text for t in teachers(mixed) if t.heading == "Saliency"]
    assert [text.split(":")[0] for text in texts] == ["cam, erasing", "cam_u2net"]
    assert "DUTS-TR" in texts[1]
