"""Odd names of folders, images and classes through the real rules: nothing is executed, and what is legal works."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from wsss.files.index import ImageIndex
from wsss.settings.sections import DatasetSection, FolderSection
from wsss.settings.stage_settings import IndexSettings
from wsss.stages.dataset.faults import DataError
from wsss.stages.dataset.index_images import index_images

EVIL = 'it\'s $(touch ran) `touch ran` "q" & ; * é'
IMAGES = (
    EVIL,
    "--output=x",
    "new&line|>here",
    "{params.settings}",
    "a'b\"c\\d",
    "$HOME %n #!",
    "~root",
    "=1+1",
    "trailing blank ",
    "‮gnp",
)
CLASSES = ("$(touch ran)", "<script>alert(1)</script>", 'it\'s a {class} & "more" $\\frac{1}{2}$')


def workflow(folder: Path) -> Path:
    """Rules and package in a folder of their own."""
    for name in ("wsss", "rules", "envs", "docs", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "images"))
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def photographs(folder: Path, *, names: tuple[str, ...] = IMAGES, classes: tuple[str, ...] = CLASSES) -> Path:
    folder.mkdir(parents=True)
    for k, name in enumerate(names):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (48, 64, 3)).astype(np.uint8)).save(
            folder / f"{name}.png"
        )
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("image", "labels"), *((f"{name}.png", classes[k % len(classes)]) for k, name in enumerate(names))]
        )
    return folder


def snakemake(folder: Path, *arguments: str, over: dict) -> subprocess.CompletedProcess[str]:
    (folder / "over.yaml").write_text(json.dumps(over))
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments, "--configfile", "over.yaml"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def settings(root: Path, **more: object) -> dict:
    return {
        "run": "odd",
        "dataset": {"kind": "folder", "folder": {"root": str(root)}},
        "saliency": {"barrier": {"passes": 1}},
        **more,
    }


def ran(folder: Path) -> list[str]:
    return [str(p) for p in folder.rglob("ran")]


def test_odd_names_work_and_are_not_executed(tmp_path):
    """The workflow is in a folder of that name, the data in another; its images and classes have such names, too."""
    folder = workflow(tmp_path / EVIL)
    root = photographs(tmp_path / "data" / EVIL)
    done = snakemake(folder, "results/odd/saliency/barrier/train-0.h5", over=settings(root))
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    index = ImageIndex(folder / "results" / "odd" / "dataset" / "index.csv")
    assert sorted(index.rows) == sorted(IMAGES)
    assert (folder / "results/odd/saliency/barrier/train-0.h5").stat().st_size > 1000
    assert ran(tmp_path) == []
    assert not list(Path.cwd().glob("ran"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return workflow(tmp_path_factory.mktemp("refused"))


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"run": "$(touch ran)"}, "run: found '$(touch ran)'"),
        ({"run": "a\nb"}, "run: found 'a\\nb'"),
        ({"methods": ["cam; touch ran"]}, "methods: 'cam; touch ran' is no method"),
        ({"recipes": {"x|.*": {"kind": "cam"}}, "methods": ["x|.*"]}, "names are lower-case letters, digits and _"),
        ({"compute": {"device": "cpu; touch ran"}}, "compute.device: found 'cpu; touch ran'"),
    ],
)
def test_names_that_are_not_legal_are_refused_before_any_job(folder, over, said):
    done = snakemake(folder, "-n", over=settings(folder / "none") | over)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert ran(folder) == []


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "x" * 201])
def test_an_image_whose_name_is_not_legal_is_refused_by_the_index_rule(tmp_path, name):
    root = photographs(tmp_path / "data", names=(name, "b"))
    with pytest.raises(DataError, match=r"control character|at most 200"):
        index_images(
            settings=IndexSettings(dataset=DatasetSection(kind="folder", folder=FolderSection(root=str(root)))),
            output=tmp_path / "out" / "index.csv",
        )
    assert not (tmp_path / "out").exists()
