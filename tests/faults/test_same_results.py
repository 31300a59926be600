"""Equal runs have equal results: whatever the number of jobs at once, of loader processes and of shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss.files.store import MapReader
from wsss.nets.checkpoints import load_network

from ..toy_run import Project
from .again import contents


def images_of(paths: list[Path]) -> dict[str, dict[str, bytes]]:
    """Image to the bytes of its arrays, over all shards."""
    out: dict[str, dict[str, bytes]] = {}
    for path in paths:
        with MapReader(path) as reader:
            out |= {i: {k: v.tobytes() for k, v in reader.read(i).arrays.items()} for i in reader.image_ids}
    return out


def figures_of(run: Path) -> list[str]:
    """metrics.csv without time and memory."""
    return [line for line in (run / "metrics.csv").read_text().splitlines() if ",timing," not in line]


def stores_of(run: Path) -> dict[str, dict[str, dict[str, bytes]]]:
    """Every kind of map of a run, by its folder: image to arrays."""
    folders = sorted({p.parent for p in run.rglob("*.h5")})
    return {
        str(f.relative_to(run)): images_of(sorted(f.glob("train-*.h5")) + sorted(f.glob("val-*.h5"))) for f in folders
    }


def test_jobs_shards_and_loaders_change_no_mask(finished):
    """CAM's pseudo masks: one job at a time, a loader process and one shard, against two jobs, none and two shards."""
    over = {
        "run": "again",
        "methods": ["cam"],
        "segment": {"methods": []},
        "compute": {"workers": 1, "shards": {"train": 1}},
    }
    done = finished.snakemake("pseudo_masks", over=over, machine=("--cores", "1"))
    assert done.returncode == 0, done.stdout + done.stderr
    again, toy = (finished.folder / "results" / name for name in ("again", "toy"))
    network = "cam/seeds/round-1/classifier.pt"
    assert (again / network).read_bytes() == (toy / network).read_bytes()
    found = stores_of(again)
    assert set(found) >= {
        "cam/seeds/round-1/scores",
        "cam/seeds/round-1/regions",
        "cam/seeds/fused",
        "cam/pseudo/seed",
        "cam/pseudo/plain/cycle-0",
    }
    expected = stores_of(toy)
    for folder, maps in found.items():
        assert len(maps) == 12
        assert maps == expected[folder], folder


@pytest.mark.slow
def test_a_whole_run_again_in_another_way(finished, tmp_path):
    """The whole run, one job at a time, two loader processes, other shards: equal figures, networks and maps."""
    project = Project(tmp_path / "again")
    over = {"compute": {"workers": 2, "shards": {"train": 3, "val": 2}}}
    done = project.snakemake(over=over, machine=("--cores", "1"))
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    again, toy = (p.folder / "results/toy" for p in (project, finished))
    assert figures_of(again) == figures_of(toy)
    assert stores_of(again) == stores_of(toy)
    for path in sorted(toy.rglob("*.pt")):
        ours, theirs = load_network(path)[0], load_network(again / path.relative_to(toy))[0]
        assert all(bool((ours[name] == theirs[name]).all()) for name in ours)
    for method in ("cam", "erasing"):
        masks = [
            {k: v for k, v in contents(run / method / "masks").items() if "provenance" not in k} for run in (again, toy)
        ]
        assert len(masks[0]) > 12
        assert masks[0] == masks[1]
