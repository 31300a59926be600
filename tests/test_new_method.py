"""docs/NEW_METHOD.md, done as it says: a method from outside the package, through the workflow."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from .conftest import ROOT
from .toy_run import TOY, Project

PAGE = (ROOT / "docs" / "NEW_METHOD.md").read_text()


def block(language: str, *, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)[number]


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The page's files in a folder, with the metadata that installing them would leave."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "lse.py").write_text(block("python"))
    (folder / "lse_facts.py").write_text(block("python", number=1))
    project = tomllib.loads(block("toml"))["project"]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{k} = {v}\n" for k, v in project["entry-points"]["wsss.methods"].items())
    (info / "entry_points.txt").write_text(f"[wsss.methods]\n{points}")
    return folder


def test_the_walk_through_is_short():
    assert sum(len(block(kind, number=n).splitlines()) for kind, n in (("python", 0), ("python", 1), ("toml", 0))) < 100


def test_the_pages_method_runs_beside_cam(package, tmp_path):
    project = Project(tmp_path)
    over = {
        "methods": ["cam", "lse", "lse_sharp"],
        "segment": {"methods": []},
        "compute": {"shards": {"train": 1}},
        "recipes": {"lse_sharp": {"kind": "lse", "seeds": {"custom": {"lse": {"sharpness": 5.0}}}}},
    }
    done = project.snakemake(over=over, path=[package])
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    table = pd.read_csv(tmp_path / "results" / TOY["run"] / "metrics.csv")
    scores = (
        table[(table["stage"] == "scores") & (table["metric"] == "miou_curve")].groupby("method")["value"].apply(list)
    )
    assert set(scores.index) == {"cam", "lse", "lse_sharp"}
    assert scores["cam"] != scores["lse"] != scores["lse_sharp"]
    edit_reruns_this_method_alone(project, package, over)
    over["recipes"]["lse_sharp"]["seeds"]["custom"]["lse"]["sharpness"] = -1.0
    refused = project.snakemake(over=over, path=[package])
    assert refused.returncode != 0
    assert "seeds.custom.lse.sharpness is -1, expected a positive number" in refused.stdout + refused.stderr
    over["recipes"]["lse_sharp"]["seeds"]["custom"] = {"lze": {"sharpness": 1.0}}
    refused = project.snakemake("-n", over=over, path=[package])
    assert refused.returncode != 0
    assert "seeds.custom.lze: 'lze' is no installed method; did you mean 'lse'?" in refused.stdout + refused.stderr


def edit_reruns_this_method_alone(project: Project, package: Path, over: dict) -> None:
    assert project.reruns(over, path=[package]) == {}
    code = package / "lse.py"
    before = code.read_text()
    code.write_text(before.replace("1.0))", "2.0))"))
    assert project.reruns(over, path=[package])["train_classifier"] == 2
    code.write_text(before)


def test_a_name_that_is_taken_or_no_facts_is_refused(package, monkeypatch):
    from importlib.metadata import EntryPoint

    from wsss import methods

    for point, said in (
        (EntryPoint("cam", "lse_facts:FACTS", methods.ENTRY_POINTS), "there is a method of that name"),
        (EntryPoint("lse", "lse_facts:__name__", methods.ENTRY_POINTS), "is str, expected wsss.methods.Facts"),
    ):
        monkeypatch.syspath_prepend(str(package))
        monkeypatch.setattr(methods, "entry_points", lambda group, point=point: [point])
        with pytest.raises(ValueError, match=said):
            methods.registered()


def test_every_built_in_method_runs_side_by_side(tmp_path):
    """The kinds of configs/scenes_all.yaml on toy images.

    EPS with its own background, and erasing over it; ESOL's three rounds and their weighted mean; PRM's responses and
    instances, erasing over it, and components of masks from its class maps.
    """
    project = Project(tmp_path)
    recipes = {
        "eps_network": {"kind": "eps", "pseudo": {"seed": {"kind": "scores", "cue": "network"}}},
        "esol_fused": {"kind": "esol", "seeds": {"fuse": {"weights": [1, 1, 1]}}},
        "cam_parts": {"kind": "cam", "instances": {"route": "components"}},
        "prm_parts": {"kind": "prm", "seeds": {"prm": {"scores": "maps"}}, "instances": {"route": "components"}},
    }
    over = {
        "methods": ["cam", "eps_network", "eps_erasing", "esol_fused", "prm", "prm_erasing", "cam_parts", "prm_parts"],
        "recipes": recipes,
        "segment": {"methods": []},
        "instances": {"methods": ["prm", "cam_parts", "prm_parts"], "proposals": {"watershed": {"count": 40}}},
        "compute": {"shards": {"train": 1}},
    }
    done = project.snakemake(over=over)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    base = tmp_path / "results" / TOY["run"]
    table = pd.read_csv(base / "metrics.csv")
    rounds = table[table["stage"] == "scores"].groupby("method")["round"].max().to_dict()
    assert rounds == {
        "cam": 1,
        "eps_network": 1,
        "eps_erasing": 2,
        "esol_fused": 3,
        "prm": 1,
        "prm_erasing": 2,
        "cam_parts": 1,
        "prm_parts": 1,
    }
    assert set(table[table["stage"] == "seed"]["method"]) == set(over["methods"])
    assert not (base / "eps_erasing" / "seeds" / "round-1").exists()  # EPS's own
    assert not (base / "esol_fused" / "seeds" / "round-1").exists()  # CAM's
    assert not (base / "cam_parts" / "seeds" / "round-1").exists()  # CAM's
    assert not (base / "prm_erasing" / "seeds" / "round-1").exists()  # PRM's
    assert not (
        base / "prm_parts" / "instances" / "responses"
    ).exists()  # PRM's too: how its score maps are made does not trace peaks again
    found = table[table["stage"] == "instances"].set_index(["method", "metric"])["value"]
    assert found[("prm", "images")].item() == found[("cam_parts", "images")].item() == 12
    assert ("prm", "pointing") in found.index
    assert ("cam_parts", "pointing") not in found.index
    for method in ("prm", "cam_parts", "prm_parts"):
        assert len(list((base / method / "instances" / "images").glob("*.png"))) == 12
    assert project.reruns(over) == {}
    assert set(project.reruns({**over, "instances": {**over["instances"], "retrieval": {"boundary": 0.0}}})) == {
        "retrieve_instances", "export_instances", "measure_instances", "collect_metrics", "write_report",
    }  # fmt: skip
