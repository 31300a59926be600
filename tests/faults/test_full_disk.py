"""A disk that is full while a stage writes: one error that names the file, and nothing half-written.

After room is made, the same command ends like an undisturbed one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .again import call, contents, only_error, run_apart, words_of
from .disks import enlarge, small_disk

SIZE = 8 << 20
PRODUCTS = {
    "extract_scores": "cam/seeds/round-1/scores/train-0.h5",
    "measure_round": "cam/seeds/round-1/metrics.json",
    "export_masks": "erasing/masks/train.csv",
    "write_report": "report/index.html",
}
FULL = "cannot be written: the disk is full; "


def fill(disk: Path, *, leave: int) -> Path:
    """A file that takes all but `leave` bytes of a disk, whole pages of them."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - leave // 4096 * 4096))
    return ballast


@pytest.mark.parametrize("stage", PRODUCTS)
def test_a_stage_on_a_full_disk(finished, tmp_path, monkeypatch, stage):
    monkeypatch.chdir(finished.folder)
    run, product = Path("results/toy"), PRODUCTS[stage]
    # the report shows what the run's logs hold now, so an undisturbed one is made now, too
    apart = tmp_path / "apart" / Path(product).name
    assert call(words_of(run, product, output=apart)).exit_code == 0
    whole = contents(apart.parent)
    with small_disk(tmp_path / "disk", size=SIZE) as disk:
        output = disk / "made" / apart.name
        output.parent.mkdir()
        output.write_bytes(b"earlier")
        words = words_of(run, product, output=output)
        ballast = fill(disk, leave=apart.stat().st_size // 2)
        before = contents(output.parent)
        done = run_apart(words)
        assert done.returncode == 1, (done.returncode, done.stderr)
        said = only_error(done.stderr)
        assert said.startswith(f"error: {output.parent}/")
        assert FULL in said
        assert said.endswith("make room and start again: what is finished is kept")
        after = contents(output.parent)
        assert after[output.name] == b"earlier"
        assert [name for name, data in after.items() if data != before.get(name) and data != whole.get(name)] == []
        ballast.unlink()
        assert call(words).exit_code == 0
        assert {k: v for k, v in contents(output.parent).items() if "provenance" not in k} == {
            k: v for k, v in whole.items() if "provenance" not in k
        }


def test_a_log_on_the_full_disk_hides_no_error(finished, tmp_path):
    with small_disk(tmp_path / "disk", size=SIZE) as disk:
        (disk / "a.log").touch()
        fill(disk, leave=0)
        done = run_apart(
            words_of(
                finished.folder / "results/toy", "cam/pseudo/seed/train-0.h5", output=disk / "a.h5", log=disk / "a.log"
            ),
            folder=finished.folder,
        )
    assert done.returncode == 1
    assert only_error(done.stderr).startswith(f"error: {disk}/a.h5: {FULL}")
    assert [line for line in done.stderr.splitlines() if line.startswith("warning: ")] == [
        f"warning: {disk}/a.log: {FULL}0 bytes are free in {disk}; make room and start again: what is finished is kept"
    ]


def test_a_disk_that_fills_up_during_a_training(finished, tmp_path, monkeypatch):
    """The first resume file fits, the second does not. The training goes on from the first; other settings do not."""
    monkeypatch.chdir(finished.folder)
    product, longer, other = "cam/seeds/round-1/classifier.pt", {"epochs": 3}, {"epochs": 3, "optimiser": {"lr": 0.001}}
    apart = {"longer": longer, "other": other}
    for name, settings in apart.items():
        assert (
            call(
                words_of(
                    Path("results/toy"),
                    product,
                    output=tmp_path / name / "classifier.pt",
                    settings={"classifier": settings},
                )
            ).exit_code
            == 0
        )
    with small_disk(tmp_path / "disk", size=64 << 20) as disk:
        words = words_of(Path("results/toy"), product, output=disk / "classifier.pt", settings={"classifier": longer})
        done = run_apart(words)
        assert done.returncode == 1, (done.returncode, done.stderr)
        assert only_error(done.stderr).startswith(f"error: {disk}/.resume/classifier.pt: {FULL}")
        assert list(contents(disk)) == [".resume/classifier.pt"]
        enlarge(disk, size=256 << 20)
        shutil.copytree(disk / ".resume", disk / "b" / ".resume")
        for folder, name, said in (
            (disk, "longer", "resuming after epoch 1"),
            (disk / "b", "other", "belongs to other settings"),
        ):
            done = call(
                words_of(
                    Path("results/toy"),
                    product,
                    output=folder / "classifier.pt",
                    settings={"classifier": apart[name]},
                    log=folder / "log",
                )
            )
            assert done.exit_code == 0, done.output
            assert said in (folder / "log").read_text()
            assert (folder / "classifier.pt").read_bytes() == (tmp_path / name / "classifier.pt").read_bytes()
            assert not (folder / ".resume").exists()


@pytest.mark.slow
def test_the_workflow_on_a_full_disk(finished):
    masks = finished.folder / "results/toy/erasing/masks"
    whole = contents(masks)
    with small_disk(masks, size=24 << 10):
        done = finished.snakemake()
        assert done.returncode != 0
        assert FULL in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert [
            name for name, data in contents(masks).items() if data != whole[name] and "provenance" not in name
        ] == []
        enlarge(masks, size=SIZE)
        done = finished.snakemake()
        assert done.returncode == 0, done.stdout + done.stderr
        assert {k: v for k, v in contents(masks).items() if "provenance" not in k} == {
            k: v for k, v in whole.items() if "provenance" not in k
        }
    assert finished.reruns() == {}
