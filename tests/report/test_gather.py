"""Numbers, time, settings and supervision."""

from __future__ import annotations

import pytest

from tests.report.sample_run import make_run
from wsss.files.errors import ArtefactError
from wsss.files.index import ImageIndex
from wsss.settings.config import load
from wsss.settings.reading import relevant
from wsss.settings.sections import Config
from wsss.stages.report import gather
from wsss.workflow.graph import Graph

HEADER = "run,method,variant,stage,round,cycle,split,seed,threshold,metric,class,value\n"


def read(tmp_path, text, names=("background", "cat", "7")):
    path = tmp_path / "metrics.csv"
    path.write_text(HEADER + text)
    return gather.read_metrics(path, class_names=names)


def test_numbers_are_found_by_artefact_and_classes_by_name_or_id(tmp_path):
    m = read(
        tmp_path,
        "r,cam,,scores,1,,train,0,0.3,miou_best,,0.5\nr,cam,,scores,1.0,,train,0,0.2,iou,1,0.1\nr,cam,,scores,1,,train,0,0.3,iou,1,0.4\nr,cam,,scores,1,,train,0,0.3,iou,7,0.6\n",
    )
    key = gather.Key(("cam", "", "scores", 1, None, "train"))
    assert m.main(key) == 0.5
    assert m.by_class(key, "iou") == {"cat": 0.4, "7": 0.6}  # at the best threshold; a name of digits stays a name
    assert m.number(key, "miou") is None
    assert m.number(gather.Key(("cam", "", "scores", 2, None, "train")), "miou_best") is None


def test_curves_are_in_order_and_leave_out_what_is_not_finite(tmp_path):
    m = read(
        tmp_path,
        "r,cam,,fused,,,train,0,0.5,miou_curve,,0.2\nr,cam,,fused,,,train,0,0.1,miou_curve,,0.3\nr,cam,,fused,,,train,0,0.2,miou_curve,,nan\n",
    )
    assert m.curve(gather.Key(("cam", "", "fused", None, None, "train")), "miou_curve") == [(0.1, 0.3), (0.5, 0.2)]


@pytest.mark.parametrize(
    "text", ["r,cam,,fused,,,train,0,,miou,,much\n", "r,cam,,fused,x,,train,0,,miou,,0.5\n", "r,cam,,fused\n"]
)
def test_a_malformed_row_is_named(tmp_path, text):
    with pytest.raises(ArtefactError, match=r"metrics\.csv: row 2"):
        read(tmp_path, text)


def test_other_columns_are_refused(tmp_path):
    (tmp_path / "m.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ArtefactError, match=r"found columns \['a', 'b'\]"):
        gather.read_metrics(tmp_path / "m.csv", class_names=[])


def test_benchmarks_are_summed_by_rule(tmp_path):
    run = make_run(tmp_path)
    times = gather.read_benchmarks(tmp_path / "benchmarks")
    assert [(t.rule, t.jobs) for t in times] == [
        ("train_classifier", 2),
        ("refine_masks", 1),
        ("extract_scores", 2),
        ("index_images", 1),
    ]
    assert times[0].seconds == pytest.approx(120.1)
    assert (times[0].longest, times[0].peak_mb) == (61.2, 513.5)
    assert gather.read_benchmarks(tmp_path / "absent") == []
    said = ["make_seeds/cam-train-0: 1 of 4 seed masks has no object pixel"]
    assert gather.log_warnings(tmp_path / "logs", methods=["cam"]) == said
    assert gather.log_warnings(tmp_path / "logs", methods=["cam_20"]) == []  # left by other settings of the run
    assert run.rows


def test_jobs_too_short_to_sample_do_not_break_the_table(tmp_path):
    (tmp_path / "claim_regions").mkdir()
    (tmp_path / "claim_regions" / "a.tsv").write_text("s\tmax_rss\n0.3\t-\n")
    assert gather.read_benchmarks(tmp_path)[0].peak_mb == 0


def test_changed_settings_come_first_with_their_default_and_meaning():
    listed = gather.list_settings(
        relevant(
            load({"run": "x", "seeds": {"claim": {"rel_threshold": 0.35}}, "recipes": {"e4": {"kind": "erasing"}}})
        )
    )
    changed = {s.key: (s.value, s.default) for s in listed if s.changed}
    assert changed == {
        "run": ("x", "scenes"),
        "seeds.claim.rel_threshold": ("0.35", str(Config().seeds.claim.rel_threshold)),
        "recipes": ('{"e4": {"kind": "erasing"}}', "{}"),
    }
    assert [s.changed for s in listed] == sorted((s.changed for s in listed), reverse=True)
    assert "AE-PSL" in next(s.meaning for s in listed if s.key == "seeds.claim.rel_threshold")


def test_counts_of_images_classes_and_truth(tmp_path):
    run = make_run(tmp_path)
    facts = gather.data_facts(ImageIndex(run.index))
    train = [i for i in run.truths if i not in ("img4", "img5")]
    assert facts["splits"]["train"]["counts"] == [sum((run.truths[i] == c).any() for i in train) for c in (1, 2)]
    assert (facts["splits"]["train"]["images"], facts["splits"]["val"]["measured"]) == (4, 2)


def kinds(config, facts=None, **proposals):
    facts = facts or {
        "splits": {"train": {"images": 4, "measured": 4, "labels": 1.5}, "val": {"images": 2, "measured": 2}}
    }
    whole = load(config)
    plan = Graph(whole).plan(dict.fromkeys(whole.methods, 1))
    return {
        heading: (kind, text)
        for kind, heading, text in gather.supervision(plan["config"], facts, cues=plan["cues"], proposals=proposals)
    }


def test_supervision_says_what_taught_the_run():
    assert kinds({})["Saliency"][0] == "none"
    assert "unsupervised" in kinds({})["Saliency"][1]
    assert "DUTS-TR" in kinds({"saliency": {"kind": "u2net"}})["Saliency"][1]
    assert "ImageNet" in kinds({})["Pretraining"][1]
    assert kinds({"backbone": {"weights": "none"}})["Pretraining"][0] == "none"
    assert "Reference" not in kinds({})
    assert kinds({"evaluate": {"full_supervision": True}})["Reference"][0] == "pixels"
    assert "Labels at prediction" in kinds(
        {"segment": {"recipes": {"gt": {"psl": {"enabled": True, "test_weighting": "labels"}}}}}
    )
    nothing = {"splits": {"train": {"images": 4, "measured": 0, "labels": 1.5}, "val": {"images": 0, "measured": 0}}}
    assert "has none" in kinds({}, nothing)["Truth masks"][1]
    assert "no stage needed any" in kinds({}, nothing)["Truth masks"][1]


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
    said = kinds({}, prm="watershed", best="truth")["Truth masks"][1]
    assert "only" not in said
    assert said.startswith("Read by evaluation and by the proposals of best (true instances): 4 training")
    full = kinds({"evaluate": {"full_supervision": True}})["Truth masks"][1]
    assert full.startswith("Read by evaluation and by the training of “full”: ")
    assert "losses but those of “full”" in full
    nothing = {"splits": {"train": {"images": 4, "measured": 0, "labels": 1.5}, "val": {"images": 0, "measured": 0}}}
    assert "no stage needed any" not in kinds({}, nothing, best="truth")["Truth masks"][1]


def test_methods_with_saliency_of_their_own_are_named():
    mixed = {
        "methods": ["cam", "erasing", "cam_u2net"],
        "recipes": {"cam_u2net": {"kind": "cam", "saliency": {"kind": "u2net"}}},
    }
    plan = Graph(load(mixed)).plan({"cam": 1, "erasing": 1, "cam_u2net": 1})
    facts = {"splits": {"train": {"images": 4, "measured": 4, "labels": 1.5}, "val": {"images": 2, "measured": 2}}}
    said = [
        text
        for _, heading, text in gather.supervision(plan["config"], facts, cues=plan["cues"], proposals={})
        if heading == "Saliency"
    ]
    assert [t.split(":")[0] for t in said] == ["cam, erasing", "cam_u2net"]
    assert "DUTS-TR" in said[1]
