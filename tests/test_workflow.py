"""The workflow on a toy run.

It ends, and after a change exactly what depends on it reruns (read from `snakemake -n`).
"""

from __future__ import annotations

import base64
import json
import re
import resource
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from wsss.files.provenance_files import SUFFIX, find_records, read_record, record_of

from .conftest import ROOT
from .photographs import write_photographs
from .toy_run import Project

GPU_STAGES = {"train_classifier", "extract_scores", "train_segmenter", "predict_masks"}
SEGMENT = {"train_segmenter", "predict_masks"}
LAST = {"measure_masks", "collect_metrics", "write_report", "export_masks"}


@pytest.fixture
def project(finished, tmp_path) -> Project:
    """The finished run, its code restored afterwards."""
    yield finished
    shutil.copytree(
        ROOT / "wsss", finished.folder / "wsss", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )


def test_the_run_ends_in_a_report_and_masks(finished):
    base = finished.folder / "results" / "toy"
    assert (base / "report" / "index.html").stat().st_size > 10_000
    assert len(list((base / "erasing" / "masks" / "val").glob("*.png"))) == 4
    table = pd.read_csv(base / "metrics.csv")
    assert {"scores", "fused", "seed", "pseudo", "prediction", "timing"} <= set(table["stage"])
    assert not list(base.rglob(".resume/*"))
    assert not list(base.rglob("*.tmp-*"))


def test_every_product_has_a_record_and_its_code_is_the_rules(finished):
    """What Snakemake has as `params.code` of a job stands in the record; no rule declares the record."""
    rules = {}
    for path in (finished.folder / ".snakemake" / "metadata").rglob("*"):
        if path.is_file():
            name = base64.urlsafe_b64decode(
                "".join(path.relative_to(finished.folder / ".snakemake" / "metadata").parts).replace("@", "")
            ).decode()
            rules[name] = json.loads(path.read_text())
    base = finished.folder / "results" / "toy"
    records = {str(p.relative_to(finished.folder)).removesuffix(SUFFIX): read_record(p) for p in find_records(base)}
    assert len(records) > 50
    assert not [name for name in rules if name.endswith(SUFFIX)]
    for name, record in records.items():
        assert record["code"] in "".join(map(str, rules[name]["params"])), name
        assert rules[name]["rule"] == record["stage"]
    recorded = {entry["path"] for record in records.values() for entry in record["products"]}
    assert {name for name in rules if name.startswith("results/toy/")} <= recorded


def test_cam_is_trained_once_for_both(finished):
    base = finished.folder / "results" / "toy"
    assert (base / "cam/seeds/round-1/classifier.safetensors").exists()
    assert not (base / "erasing/seeds/round-1").exists()
    assert (base / "erasing/seeds/round-2/classifier.safetensors").exists()


def test_after_a_finished_run_nothing(project):
    assert project.reruns() == {}


@pytest.mark.parametrize(
    "over", [{"compute": {"workers": 1}}, {"compute": {"device": "auto"}}, {"dataset": {"voc": {"root": "elsewhere"}}}]
)
def test_an_unrelated_key_reruns_nothing(project, over):
    assert project.reruns(over) == {}


def test_a_training_has_as_many_processes_as_gpus_and_another_number_reruns_nothing(project):
    two = ("--resources", "gpu=2", "--set-resources", "train_classifier:gpu=2", "train_segmenter:gpu=2")
    assert project.reruns(None, *two) == {}
    for more, count in (((), "1"), (two, "2")):
        planned = project.snakemake("-n", "-p", "--forcerun", "train_classifier", "train_segmenter", *more)
        commands = [
            line
            for line in (planned.stdout + planned.stderr).splitlines()
            if re.search(r"wsss train_\w+ --index", line)
        ]
        assert len(commands) > 3
        assert {re.search(r"--devices (\d+)", line).group(1) for line in commands} == {count}


def test_a_crf_setting_reruns_refine_masks_and_what_follows(project):
    """With the refinement `none` that is from the second cycle on."""
    jobs = project.reruns({"pseudo": {"crf": {"preset": "irn"}}})
    assert set(jobs) == {"refine_masks", *SEGMENT, *LAST}
    assert jobs["train_segmenter"] == 1
    assert project.reruns({"pseudo": {"refine": "crf"}})["train_segmenter"] == 3


def test_the_erase_threshold_keeps_the_first_round(project):
    jobs = project.reruns({"seeds": {"claim": {"rel_threshold": 0.6}}})
    assert jobs["train_classifier"] == 1
    assert jobs["extract_scores"] == 2
    assert jobs["claim_regions"] == 4


def test_one_more_round_is_one_round(project):
    jobs = project.reruns({"seeds": {"rounds": {"count": 3}}})
    assert (jobs["train_classifier"], jobs["extract_scores"], jobs["claim_regions"], jobs["measure_round"]) == (
        1,
        2,
        2,
        1,
    )
    assert jobs["fuse_regions"] == 2


def test_one_round_less_trains_no_classifier(project):
    jobs = project.reruns({"seeds": {"rounds": {"count": 1}}})
    assert not {"train_classifier", "extract_scores", "claim_regions"} & set(jobs)
    assert jobs["fuse_regions"] == 2


def test_a_learning_rate_reruns_from_its_stage_on(project):
    jobs = project.reruns({"segment": {"train": {"optimiser": {"lr": 0.002}}}})
    assert jobs["train_segmenter"] == 3
    assert not {"train_classifier", "claim_regions", "make_seeds"} & set(jobs)
    assert project.reruns({"seeds": {"classifier": {"optimiser": {"lr": 0.001}}}})["train_classifier"] == 2


def test_segmenters_start_from_the_classifier_or_not(project):
    log = (project.folder / "results/toy/logs/train_segmenter/erasing-plain-cycle-0.log").read_text()
    assert "starting from the backbone of results/toy/cam/seeds/round-1/classifier.safetensors" in log
    jobs = project.reruns({"segment": {"start": "pretrained"}})
    assert jobs["train_segmenter"] == 3
    assert not {"train_classifier", "make_seeds"} & set(jobs)


def test_a_new_variant_trains_that_variant_alone(project):
    jobs = project.reruns(
        {
            "segment": {
                "variants": ["psl", "plain", "psl_gt"],
                "recipes": {"psl_gt": {"psl": {"enabled": True, "test_weighting": "labels"}}},
            }
        }
    )
    assert jobs["train_segmenter"] == 2
    assert "make_seeds" not in jobs


def test_report_settings_rerun_the_page_alone(project):
    assert set(project.reruns({"report": {"gallery": 6}})) <= {"write_report", "collect_metrics"}


def test_what_the_choices_leave_unread_reruns_the_page_alone(project):
    """The truth table's threshold where masks are made of scores.

    Momentum of an optimiser that has none; the settings of methods that are not run.
    """
    over = {
        "pseudo": {"seed": {"region_threshold": 0.2}},
        "seeds": {"classifier": {"optimiser": {"momentum": 0.5}}, "eps": {"mix": 0.9}},
    }
    assert set(project.reruns(over)) == {"write_report", "collect_metrics"}


def test_a_key_that_a_file_has_twice_is_refused_before_any_job(project):
    """Snakemake alone would take the last."""
    (project.folder / "twice.yaml").write_text("seed: 1\nbackbone: {weights: none}\nseed: 2\n")
    command = [*project.command("-n"), "twice.yaml"]
    done = subprocess.run(
        command, cwd=project.folder, env=project.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert (
        f"error: {project.folder / 'twice.yaml'}: line 3: "
        "the key 'seed' is there already, on line 1; keep one of the two" in done.stderr
    )


def test_code_of_a_stage_reruns_it_and_what_follows(project):
    project.edit("wsss/stages/pseudo/make_seeds.py", "def make_seeds(", "EDITED = True\n\n\ndef make_seeds(")
    jobs = project.reruns()
    assert jobs["make_seeds"] == 4
    assert not {"train_classifier", "extract_scores", "claim_regions", "fuse_regions"} & set(jobs)


def test_code_of_a_method_reruns_its_rounds_alone(project):
    project.edit("wsss/stages/seeds/erasing.py", "class Method", "EDITED = True\n\n\nclass Method")
    jobs = project.reruns()
    assert jobs["train_classifier"] == 1


def test_a_comment_reruns_nothing(project):
    project.edit("wsss/stages/pseudo/make_seeds.py", "def make_seeds(", "# why\ndef make_seeds(")
    assert project.reruns() == {}


def test_reworded_messages_and_a_raised_limit_rerun_nothing(project):
    """In rooms that change no result: runtime, settings, provenance, command line, limits that refuse."""
    project.edit("wsss/runtime/out_of_memory.py", "a smaller batch_size", "less: a smaller batch_size")
    project.edit("wsss/settings/values.py", "no such configuration file", "there is no such configuration file")
    project.edit("wsss/provenance/input_checks.py", "damaged or edited since", "damaged, or edited since")
    project.edit("wsss/cli/stage_commands.py", "Overrides compute.device.", "Takes the place of compute.device.")
    project.edit("wsss/files/limits.py", "MOST_PIXELS = ", "MOST_PIXELS = 10 * ")
    assert project.reruns() == {}


def test_a_constant_of_the_regions_reruns_its_stages(project):
    project.edit("wsss/stages/seeds/regions.py", "\n\n\ndef ", "\n\nEDITED = 1\n\n\ndef ")
    jobs = project.reruns()
    assert {"claim_regions", "fuse_regions", "make_seeds"} <= set(jobs)
    assert not {"index_images", "estimate_saliency"} & set(jobs)


def test_a_replaced_saliency_map_of_a_folder_is_seen(finished, tmp_path):
    """Given maps are no file of the run.

    Their listing is in the rule's params, and the record names those that were read.
    """
    sizes = pd.read_csv(finished.folder / "results/toy/dataset/index.csv").query("split == 'train'")
    for row in sizes.itertuples():
        Image.fromarray(np.full((row.height, row.width), 40, np.uint8)).save(tmp_path / f"{row.image_id}.png")
    over = {
        "run": "given",
        "methods": ["cam"],
        "segment": {"methods": []},
        "saliency": {"kind": "folder", "folder": {"root": str(tmp_path)}},
    }
    targets = [f"results/given/saliency/folder/train-{k}.h5" for k in (0, 1)]
    done = finished.snakemake(*targets, over=over)
    assert done.returncode == 0, done.stdout + done.stderr
    assert finished.reruns(over, *targets) == {}
    read = [e["path"] for k in targets for e in read_record(record_of(finished.folder / k))["inputs"]["settings"]]
    assert sorted(read) == sorted(str(p) for p in tmp_path.glob("*.png"))
    Image.fromarray(np.full((row.height, row.width), 200, np.uint8)).save(tmp_path / f"{row.image_id}.png")
    assert finished.reruns(over, *targets) == {"estimate_saliency": 2}


def test_a_replaced_map_of_a_folder_of_proposals_is_seen(tmp_path):
    """As of saliency: the listing of the given maps is in the rule's params."""
    project, given = Project(tmp_path / "run"), tmp_path / "given"
    given.mkdir()
    over = {
        "run": "given",
        "methods": ["prm"],
        "segment": {"methods": []},
        "dataset": {"scenes": {"train": 4, "val": 2}},
    }
    over |= {"instances": {"methods": ["prm"], "proposals": {"kind": "folder", "folder": {"root": str(given)}}}}
    targets = [f"results/given/proposals/folder/train-{k}.json" for k in (0, 1)]
    index = project.snakemake("results/given/dataset/index.csv", over=over)
    assert index.returncode == 0, index.stdout + index.stderr
    sizes = pd.read_csv(project.folder / "results/given/dataset/index.csv").query("split == 'train'")
    for row in sizes.itertuples():
        (given / f"{row.image_id}.json").write_text(json.dumps([[[1, 1, 20, 1, 20, 20]]]))
    done = project.snakemake(*targets, over=over)
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.reruns(over, *targets) == {}
    (given / f"{row.image_id}.json").write_text(json.dumps([[[1, 1, 20, 1, 20, 20, 1, 20]]]))
    assert project.reruns(over, *targets) == {"propose_masks": 2}


def test_an_unknown_key_is_refused_before_any_job(project):
    done = project.snakemake("-n", over={"seedz": 1})
    assert done.returncode != 0
    assert "seedz: unknown key; did you mean 'seed'?" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("target", ["instances", "segmentation"])
def test_a_target_that_would_make_nothing_is_refused(project, target):
    done = project.snakemake("-n", target, over={"segment": {"methods": []}})
    assert done.returncode != 0
    key = {"instances": "instances", "segmentation": "segment"}[target]
    assert f"{key}.methods is empty, so there is nothing to make: name methods there" in done.stdout + done.stderr


def processor_seconds() -> float:
    """Of the processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_dry_run_of_the_full_data_set_is_fast_and_imports_no_torch(project, tmp_path):
    """About 500 jobs.

    The limit is 5 s on an idle machine, doubled here and of processor time, because tests share the machine.
    """
    root = tmp_path / "VOC2012"
    for name in ("JPEGImages", "Annotations", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    began = processor_seconds()
    done = project.snakemake(
        "-n",
        over={
            **json.loads(json.dumps({"run": "voc", "dataset": {"kind": "voc", "voc": {"root": str(root)}}})),
            "compute": {"shards": {"train": 32, "val": 5}},
        },
    )
    spent = processor_seconds() - began
    assert done.returncode == 0, done.stdout + done.stderr
    total = int(re.search(r"^total +(\d+)$", done.stdout + done.stderr, re.M).group(1))
    assert 300 < total < 800
    assert spent < 10
    code = (
        f"import sys; sys.path.insert(0, {str(project.folder)!r}); "
        "import wsss.workflow.graph, wsss.workflow.digests; print('torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


@pytest.mark.slow  # 54 s; the rule itself is tested in tests/seeds/test_rounds.py
def test_automatic_rounds_follow_a_relaxed_and_a_tightened_rule(project):
    """The stop rule is read in the input function.

    Every change of it does exactly the missing work, and repeats do nothing.
    """
    auto = {
        "run": "auto",
        "seeds": {"rounds": {"mode": "auto", "max": 3, "stop": {"rule": "area", "min_new_area": 0.999}}},
        "segment": {"methods": []},
    }
    relaxed = {**auto, "seeds": {"rounds": {"mode": "auto", "max": 3, "stop": {"rule": "area", "min_new_area": 1e-9}}}}

    def rounds(over: dict) -> int:
        done = project.snakemake("seeds", over=over)
        assert done.returncode == 0, done.stdout + done.stderr
        return len(list((project.folder / "results/auto").glob("*/seeds/round-*/classifier.safetensors")))

    assert rounds(auto) == 1
    assert project.reruns(auto, "seeds") == {}
    assert rounds(relaxed) > 1
    assert project.reruns(relaxed, "seeds") == {}


def test_a_folder_of_photographs_broken_fixed_and_changed(finished, tmp_path):
    """Two broken rows are named in one message and nothing is written.

    Fixed, masks come out; a replaced photograph is seen, even by a run killed after the index.
    """
    photos = tmp_path / "my photos"
    write_photographs(photos)
    labels = photos / "labels.csv"
    good = labels.read_text()
    labels.write_text(good.replace("3.jpg,blue", "3.jpg,bleu").replace("8.jpg", "eight.jpg"))
    over = {
        "run": "photos", "methods": ["cam"], "segment": {"methods": []},
        "dataset": {
            "kind": "folder",
            "folder": {"root": str(photos), "labels": "labels.csv", "classes": ["red", "blue"]},
        },
    }  # fmt: skip
    base = finished.folder / "results" / "photos"
    broken = finished.snakemake(over=over)
    said = broken.stdout + broken.stderr
    assert broken.returncode != 0
    assert "bleu" in said
    assert "eight.jpg" in said
    assert "blue" in said  # the nearest known class
    assert "Traceback" not in said
    last = said[said.index("results/photos is not finished. What went wrong:") :]
    assert "bleu" in last
    assert "results/photos/logs/index_images/index.log" in last
    assert not [p for p in base.rglob("*") if p.is_file() and "logs" not in p.parts and "benchmarks" not in p.parts]

    labels.write_text(good)
    fixed = finished.snakemake(over=over)
    assert fixed.returncode == 0, (fixed.stdout + fixed.stderr)[-3000:]
    assert "report: results/photos/report/index.html\nmasks: results/photos/cam/masks\n" in fixed.stderr
    masks = sorted((base / "cam" / "masks" / "train").glob("*.png"))
    assert [m.stem for m in masks] == sorted(str(k) for k in range(12))
    assert any(np.asarray(Image.open(m)).any() for m in masks)
    assert finished.reruns(over) == {}

    # the same listing in another order: nothing reruns; a new index would come out the same
    at = base / "dataset" / "index.csv"
    index_alone = str(at.relative_to(finished.folder))
    known = at.read_bytes()
    header, *rows = good.splitlines()
    labels.write_text("\n".join([header, *reversed(rows)]) + "\n")
    assert finished.reruns(over) == {}
    assert finished.snakemake(index_alone, "--forcerun", index_alone, over=over).returncode == 0
    assert at.read_bytes() == known
    assert finished.reruns(over) == {}

    # the classes in another order: with one label an image the index is the same again, and yet everything after it
    # reruns, even if the run was killed after it
    other = json.loads(json.dumps(over).replace('["red", "blue"]', '["blue", "red"]'))
    everything = {
        "index_images",
        "train_classifier",
        "extract_scores",
        "make_seeds",
        "refine_masks",
        "export_masks",
        "measure_masks",
        "write_report",
    }
    assert everything <= set(finished.reruns(other))
    assert finished.snakemake(index_alone, over=other).returncode == 0
    assert at.read_bytes() == known
    assert everything - {"index_images"} <= set(finished.reruns(other))
    assert finished.snakemake(index_alone, over=over).returncode == 0
    assert finished.reruns(over) == {}

    Image.open(photos / "4.jpg").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "4.jpg", quality=95)
    jobs = finished.reruns(over)
    assert {"index_images", "train_classifier", "extract_scores", "make_seeds", "refine_masks"} <= set(jobs)
    assert (
        finished.snakemake(str((base / "dataset" / "index.csv").relative_to(finished.folder)), over=over).returncode
        == 0
    )
    assert {"train_classifier", "extract_scores", "make_seeds", "refine_masks"} <= set(finished.reruns(over))
    assert "index_images" not in finished.reruns(over)
