"""Results that nothing may be written to."""

from __future__ import annotations

import pytest

from .again import contents, only_error, run_apart, words_of
from .disks import read_only

READ_ONLY = "cannot be written: it is on a file system that is mounted read-only; make it writable and start again"


@pytest.mark.parametrize("product", ["cam/pseudo/seed/train-0.h5", "erasing/masks/val.csv"])
def test_a_stage_by_hand(finished, tmp_path, product):
    """The message names what is written first: the log, else the product's record or folder."""
    run = finished.folder / "results/toy"
    made = tmp_path / "made"
    made.mkdir()
    with read_only(made):
        for log in (None, made / "logs" / "a.log"):
            done = run_apart(words_of(run, product, output=made / "new" / "a.h5", log=log), folder=finished.folder)
            assert done.returncode == 1
            named = [log] if log else [made / "new", made / "new" / "a.h5"]
            assert only_error(done.stderr) in [f"error: {path}: {READ_ONLY}" for path in named]
    assert list(made.iterdir()) == []


def test_the_workflow(finished):
    base = finished.folder / "results/toy"
    before = contents(base)
    with read_only(base):
        done = finished.snakemake("--forcerun", "results/toy/erasing/masks/val.csv")
        assert done.returncode != 0
        assert (
            "Write-protected output files for rule export_masks" in done.stdout + done.stderr
        )  # Snakemake's own words
        assert "Traceback" not in done.stdout + done.stderr
    assert contents(base) == before
    assert finished.reruns() == {}
