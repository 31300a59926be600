"""Records of trainings, time and memory, warnings in logs."""

from __future__ import annotations

import pytest

from tests.report.sample_run import make_run
from wsss.stages.report.jobs import log_warnings, read_benchmarks, read_records


def test_benchmarks_are_summed_by_rule(tmp_path):
    make_run(tmp_path)
    times = read_benchmarks(tmp_path / "benchmarks")
    assert [(t.rule, t.jobs) for t in times] == [
        ("train_classifier", 2),
        ("refine_masks", 1),
        ("extract_scores", 2),
        ("index_images", 1),
    ]
    assert times[0].seconds == pytest.approx(120.1)
    assert (times[0].longest, times[0].peak_mb) == (61.2, 513.5)
    assert read_benchmarks(tmp_path / "absent") == []


def test_jobs_too_short_to_sample_and_empty_files_do_not_break_the_table(tmp_path):
    (tmp_path / "claim_regions").mkdir()
    (tmp_path / "claim_regions" / "a.tsv").write_text("s\tmax_rss\n0.3\t-\n")
    (tmp_path / "claim_regions" / "b.tsv").write_text("s\tmax_rss\nNA\t70.5\n")
    (tmp_path / "claim_regions" / "c.tsv").write_text("")
    (times,) = read_benchmarks(tmp_path)
    assert (times.jobs, times.seconds, times.peak_mb) == (2, 0.3, 70.5)


def test_warnings_in_logs_are_those_of_the_runs_methods(tmp_path):
    make_run(tmp_path)
    (tmp_path / "logs" / "make_seeds" / "cam-train-1.log").write_text(
        "10:00:00 WARNING 1 of 4 seed masks has no object pixel\n"
    )
    found = ["make_seeds/cam-train-0 and 1 more: 1 of 4 seed masks has no object pixel"]
    assert log_warnings(tmp_path / "logs", methods=["cam"]) == found
    assert log_warnings(tmp_path / "logs", methods=["cam_20"]) == []  # left by other settings of the run


def test_a_shared_record_is_read_once_and_names_its_owners(tmp_path):
    records = read_records(make_run(tmp_path).plan)
    rounds = [r.name for r in records if r.record.kind == "round"]
    assert rounds == ["cam = erasing, round 1", "erasing, round 2"]
    assert [r.name for r in records if r.record.kind == "segmenter"] == [
        "erasing · plain, cycle 0",
        "erasing · psl, cycle 0",
        "erasing · psl, cycle 1",
    ]
    assert all(len(r.figures["loss_curve"]) == 6 for r in records)
