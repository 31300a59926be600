"""docs/NEW_KIND.md, done as it says: a kind of data set and a kind of saliency from outside the package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.files.index import ImageIndex
from wsss.files.store import MapReader
from wsss.settings import kinds

from .conftest import ROOT
from .toy_run import Project

PAGE = (ROOT / "docs" / "NEW_KIND.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The page's files in a folder, with the metadata that installing them would leave."""
    folder = tmp_path / "package"
    info = folder / "shelves_middle-0.1.dist-info"
    info.mkdir(parents=True)
    for name, text in zip(("shelves", "middle", "middle_kind"), blocks("python"), strict=True):
        (folder / f"{name}.py").write_text(text)
    project = tomllib.loads(blocks("toml")[0])["project"]
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy of the package beside a data set of two classes, a folder each."""
    folder = tmp_path / "project"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, label, name in (("train", "cat", "a"), ("train", "dog", "b"), ("val", "dog", "c")):
        path = folder / "shelves" / split / label / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(path)
    return Project(folder)


def wsss(project: Project, package: Path, *words: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "wsss", *words]
    done = subprocess.run(
        command, cwd=project.folder, env=project.environment(package), capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


DATASET = {"kind": "shelves", "custom": {"shelves": {"root": "shelves"}}}
SALIENCY = {"kind": "middle", "custom": {"middle": {"radius": 0.4}}}


def test_the_pages_kinds_through_their_stages(package: Path, project: Project) -> None:
    settings = json.dumps({"dataset": DATASET})
    wsss(project, package, "index_images", "--settings", settings, "--output", "run/dataset/index.csv")
    index = ImageIndex(project.folder / "run" / "dataset" / "index.csv")
    assert index.class_names == ["background", "cat", "dog"]
    assert {i: (row.split, row.class_ids.tolist()) for i, row in index.rows.items()} == {
        "cat_a": ("train", [1]),
        "dog_b": ("train", [2]),
        "dog_c": ("val", [2]),
    }
    said = wsss(
        project, package, "estimate_saliency", "--settings", json.dumps({"saliency": SALIENCY}), "--workers", "2",
        "--index", "run/dataset/index.csv", "--shard", "run/dataset/shards/train-0.csv", "--output", "run/maps.h5",
    )  # fmt: skip
    reader = MapReader(project.folder / "run" / "maps.h5")
    assert reader.image_ids == ["cat_a", "dog_b"], said
    saliency = reader.read("cat_a")["saliency"]  # (20, 30)
    assert saliency[9:11, 14:16].min() > 240
    assert saliency[0, 0] < 2


def test_rules_plan_and_digests_ask_the_kinds(package: Path, project: Project) -> None:
    over = {
        "dataset": DATASET,
        "saliency": SALIENCY,
        "methods": ["cam"],
        "pseudo": {"seed": {"cue": "saliency"}},
        "segment": {"methods": []},
    }
    done = project.snakemake("-n", "-p", over=over, path=[package])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "results/toy/saliency/middle/train-0.h5" in done.stdout
    assert '"dataset":{"kind":"shelves",' in done.stdout
    assert '"custom":{"shelves":{"root":"shelves"}}' in done.stdout
    (project.folder / "mine.yaml").write_text(json.dumps(over))
    assert "2 training and 1 validation images" in wsss(project, package, "plan", "--no-probe", "mine.yaml")
    digest = (
        "from wsss.settings.kinds import kind_modules; from wsss.workflow.digests import code_digest;"
        f"print(code_digest('wsss.stages.dataset.index_images', *kind_modules({{'dataset': {DATASET}}})))"
    )
    found = []
    for edit in ("", "# a comment\n", "X = 1\n"):
        (package / "shelves.py").write_text(edit + blocks("python")[0])
        command = [sys.executable, "-c", digest]
        env = project.environment(package)
        found.append(subprocess.run(command, cwd=project.folder, env=env, capture_output=True, check=True).stdout)
    assert found[0] == found[1] != found[2]


def test_what_no_kind_may_be_is_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(package))
    for name, value, said in (
        ("voc", "shelves:ShelvesSource", "there is a kind of that name"),
        ("custom", "shelves:ShelvesSource", "there is a kind of that name"),
        ("../up", "shelves:ShelvesSource", "expected a name of lower-case letters"),
    ):
        point = EntryPoint(name, value, kinds.DATASET_GROUP)
        monkeypatch.setattr(kinds, "entry_points", lambda group, point=point: [point])
        with pytest.raises(ValueError, match=said):
            kinds.dataset_kinds.__wrapped__()
    point = EntryPoint("middle", "middle:Middle", kinds.SALIENCY_GROUP)
    monkeypatch.setattr(kinds, "entry_points", lambda group: [point])
    with pytest.raises(ValueError, match=r"found type, expected .*SaliencyKind"):
        kinds.saliency_kinds.__wrapped__()


def test_a_saliency_kind_says_what_trained_it() -> None:
    with pytest.raises(TypeError, match="supervision"):
        kinds.SaliencyKind(place="middle:Middle", level="none")
    with pytest.raises(ValueError, match="a sentence on what trained it"):
        kinds.SaliencyKind(place="middle:Middle", level="none", supervision=" ")
    with pytest.raises(ValueError, match="expected one of none, pixels, given"):
        kinds.SaliencyKind(place="middle:Middle", level="boxes", supervision="Trained on boxes.")
