"""`wsss verify`: every kind of damage in a finished run is named, with the command that repairs it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from wsss.__main__ import main
from wsss.files.errors import ArtefactError
from wsss.files.temporaries import temporary_of
from wsss.files.text_files import write_json
from wsss.provenance.records import SUFFIX, file_digest, find_records, own_digest, read_record, record_of
from wsss.provenance.verify import find_run, verify

from ..photographs import write_photographs

SCORES = "cam/seeds/round-1/scores/train-0.h5"
SEEDS = ("cam/pseudo/seed/train-0.h5", "erasing/pseudo/seed/train-0.h5")


@pytest.fixture
def run(finished, tmp_path, monkeypatch) -> Path:
    """A copy of the finished run by hard links, to be damaged through `put`, in the project's folder."""
    monkeypatch.chdir(finished.folder)
    folder = tmp_path / "toy"
    shutil.copytree(finished.folder / "results" / "toy", folder, copy_function=os.link)
    return folder


def put(path: Path, content: bytes) -> None:
    """Replace a file; its other hard links keep the old content."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def edit_record(path: Path, **changes: object) -> None:
    """Change a record as its stage would have written it."""
    content = read_record(record_of(path)) | changes
    record_of(path).unlink()
    write_json(record_of(path), {**content, "digest": own_digest(content)})


def lines(run: Path, *overlays: Path, images: bool = False) -> list[str]:
    """The findings, as printed."""
    return [str(f) for f in verify(run, list(overlays), images=images).findings]


def only(found: list[str], *words: object) -> str:
    """The one finding, which holds all `words`."""
    assert len(found) == 1, "\n".join(found)
    for word in words:
        assert str(word) in found[0], found[0]
    return found[0]


def remake(path: Path) -> str:
    """The end of a finding whose remedy is to remake a file."""
    return f"to repair: snakemake {path} --forcerun {path}"


def flipped(path: Path, *, at: int | None = None) -> bytes:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3 if at is None else at] ^= 4
    return bytes(content)


# ---------------------------------------------------------------- a sound run


def test_a_finished_run_is_sound_by_its_own_settings_and_by_its_configuration(run, finished):
    verdict = verify(run, [], images=True)
    assert verdict.findings == []
    assert "settings not compared" not in str(verdict)
    assert lines(run, finished.folder / "toy.yaml", images=False) == []
    products = {
        str(p.relative_to(run))
        for p in run.rglob("*")
        if p.suffix in (".h5", ".pt", ".png", ".jpg", ".html") and "scenes" not in p.parts
    }
    assert products <= {
        e["path"].removeprefix("results/toy/") for p in find_records(run) for e in read_record(p)["products"]
    }


def test_the_command_says_it_and_its_exit_code_too(run):
    sound = CliRunner().invoke(main, ["verify", str(run), "--no-images"])
    assert sound.exit_code == 0, sound.output
    assert sound.output.startswith("0 faults, 0 warnings: ")
    (run / "metrics.csv").unlink()
    broken = CliRunner().invoke(main, ["verify", str(run), "--no-images"])
    assert broken.exit_code == 1
    assert f"fault: {run}/metrics.csv: missing" in broken.output
    assert "1 fault, 0 warnings" in broken.output


def test_an_unknown_run_and_a_configuration_of_another_run_are_refused(run, tmp_path):
    assert find_run(Path("toy")) == Path("results/toy")
    with pytest.raises(ArtefactError, match=r"nothing: no run of this package; .*toy"):
        find_run(Path("nothing"))
    (tmp_path / "other.yaml").write_text("run: other")
    with pytest.raises(ArtefactError, match="found run 'other', expected 'toy'"):
        verify(run, [tmp_path / "other.yaml"], images=False)


# ---------------------------------------------------------------- files


def test_a_flipped_bit_in_a_map_names_the_image(run):
    with h5py.File(run / SCORES) as file:
        chunk = file["scores/data"].id.get_chunk_info(0)
    put(run / SCORES, flipped(run / SCORES, at=chunk.byte_offset + chunk.size // 2))
    only(
        lines(run),
        f"fault: {run / SCORES}: found digest",
        "(damaged: image train_0001: scores cannot be read",
        "as extract_scores wrote it",
        remake(run / SCORES),
    )


def test_a_truncated_network_is_named(run):
    path = run / "erasing/segment/psl/cycle-1/segmenter.pt"
    put(path, path.read_bytes()[:-5000])
    only(lines(run), path, "damaged: ", "as train_segmenter wrote it")


def test_flipped_bits_in_a_network_are_named(run):
    path = run / "cam/seeds/round-1/classifier.pt"
    put(path, flipped(path))
    only(lines(run), path, "as train_classifier wrote it")


def test_an_edited_figure_is_named(run):
    path = run / "cam/seeds/round-1/training.json"
    put(path, path.read_bytes().replace(b'"final_loss": ', b'"final_loss": 1'))
    only(
        lines(run),
        f"{path}: found digest",
        "whole, but not what was written",
        remake(run / "cam/seeds/round-1/classifier.pt"),
    )
    put(path, b"{")
    only(lines(run), path, "damaged: Expecting property name")


def test_a_changed_mask_that_users_took_away_is_named(run):
    path = sorted((run / "erasing/masks/val").glob("*.png"))[0]
    put(path, flipped(path))
    only(lines(run), path, remake(run / "erasing/masks/val.csv"))


def test_swapped_files_are_named_as_such(run):
    contents = [(run / name).read_bytes() for name in SEEDS]
    for name, content in zip(SEEDS, reversed(contents), strict=True):
        put(run / name, content)
    found = lines(run)
    assert len(found) == 2
    for name, other in (SEEDS, SEEDS[::-1]):
        assert any(f"{run / name}: found digest" in line and f"(what {other} should hold)" in line for line in found)


def test_a_missing_product_is_named_once(run):
    (run / SCORES).unlink()
    only(lines(run), f"{run / SCORES}: missing, expected as extract_scores wrote it")


def test_a_missing_record_is_named(run):
    record_of(run / SCORES).unlink()
    only(lines(run), f"{run / SCORES}: found no train-0.h5{SUFFIX} beside it")


def test_a_product_and_its_record_that_are_both_gone_are_missed(run):
    for path in (run / "erasing/masks/train.csv", record_of(run / "erasing/masks/train.csv")):
        path.unlink()
    only(lines(run), "erasing/masks/train.csv: missing, expected a product of export_masks")


def test_an_edited_record_is_named(run):
    path = record_of(run / SCORES)
    put(path, path.read_bytes().replace(b'"seed": null', b'"seed": 7'))
    found = lines(run)
    assert any(f"{path}: found a record that was changed" in line for line in found)


def test_a_record_of_an_earlier_product_does_not_stand_for_a_new_one(run):
    """A writer killed between product and record leaves this, if anything."""
    put(run / SEEDS[0], (run / "cam/pseudo/plain/cycle-0/train-0.h5").read_bytes())
    only(lines(run), f"{run / SEEDS[0]}: found digest")


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ("cam/seeds/round-1/.resume/classifier.pt", "a resume file of a training that is done"),
        ("cam/seeds/round-9/.resume/classifier.pt", "a training that did not end: no classifier.pt"),
        (str(temporary_of(Path("cam/seeds/round-1/scores/train-0.h5"), pid=99_999_999)), "what a killed process left"),
    ],
)
def test_what_killed_jobs_left_is_named(run, left, words):
    (run / left).parent.mkdir(parents=True, exist_ok=True)
    (run / left).write_bytes(b"x")
    only(lines(run), f"{run / left}: found {words}, expected none")


def test_a_run_without_any_record_is_one_fault_and_its_checksums_still_count(run):
    for path in find_records(run):
        path.unlink()
    only(lines(run), f"fault: {run}: found no {SUFFIX} beside any product")
    put(run / SCORES, (run / SCORES).read_bytes()[:3000])
    assert any(f"{run / SCORES}: damaged: " in line for line in lines(run))


# ---------------------------------------------------------------- what no longer fits together


def test_other_settings_are_named_with_both_values(run, tmp_path, finished):
    over = tmp_path / "over.yaml"
    over.write_text(json.dumps({"seeds": {"claim": {"rel_threshold": 0.6}}}))
    found = lines(run, finished.folder / "toy.yaml", over)
    claims = [line for line in found if "/regions/" in line]
    assert len(claims) == 4
    assert all("other settings: found settings.claim.rel_threshold 0.5, expected 0.6" in line for line in claims)
    assert {line.split(": ")[1].removeprefix(f"{run}/").split("/")[-1] for line in found} == {
        "train-0.h5",
        "train-1.h5",
        "metrics.csv",
        "index.html",
    }


def test_a_changed_thread_count_counts_and_a_changed_device_does_not(run, tmp_path, finished):
    over = tmp_path / "over.yaml"
    over.write_text(json.dumps({"compute": {"workers": 5, "device": "auto"}}))
    assert lines(run, finished.folder / "toy.yaml", over) == []
    over.write_text(json.dumps({"compute": {"threads": 2}}))
    found = lines(run, finished.folder / "toy.yaml", over)
    assert any("classifier.pt: other settings: found compute.threads 1, expected 2" in line for line in found)


def test_other_code_is_named_once_a_stage(run):
    for shard in (0, 1):
        edit_record(run / f"cam/pseudo/seed/train-{shard}.h5", code="0123456789ab")
    found = lines(run)
    faults = [line for line in found if line.startswith("fault")]
    only(
        faults,
        "cam/pseudo/seed/train-0.h5: other code: found 0123456789ab, expected ",
        "of make_seeds as it is now (and 1 more of this stage)",
    )
    assert any("more than one code of make_seeds" in line for line in found)


def test_a_stage_run_by_hand_with_another_setting_makes_what_follows_stale(run):
    """The real stage, in the copy: its product is whole and recorded, but what was made from the old one is stale."""
    cam = run / "cam/seeds"
    words = [
        "claim_regions",
        "--index",
        run / "dataset/index.csv",
        "--shard",
        run / "dataset/shards/train-0.csv",
        "--scores",
        run / SCORES,
    ]
    words += [
        "--settings",
        '{"claim": {"rel_threshold": 0.9}}',
        "--output",
        cam / "round-1/regions/train-0.h5",
        "--log",
        run / "hand.log",
    ]
    for path in (cam / "round-1/regions/train-0.h5", record_of(cam / "round-1/regions/train-0.h5")):
        path.unlink()
    assert CliRunner().invoke(main, [str(w) for w in words], catch_exceptions=False).exit_code == 0
    found = lines(run)
    assert any(
        "round-1/regions/train-0.h5: other settings: found settings.claim.rel_threshold 0.9, expected 0.5" in line
        for line in found
    )
    stale = [line for line in found if "stale: made from an earlier cam/seeds/round-1/regions/train-0.h5" in line]
    assert {line.split(": ")[1].removeprefix(f"{run}/") for line in stale} >= {
        "cam/seeds/round-1/metrics.json",
        "erasing/seeds/round-2/classifier.pt",
        "erasing/seeds/fused/train-0.h5",
    }
    assert any("products follow from it" in line for line in stale)


def test_classes_in_another_order_make_everything_after_the_index_stale(run):
    path = run / "dataset/classes.csv"
    header, background, first, second, *rest = path.read_text().splitlines()
    swapped = [header, background, "1," + second.partition(",")[2], "2," + first.partition(",")[2], *rest]
    put(path, ("\n".join(swapped) + "\n").encode())
    only(
        lines(run),
        f"{path}: found digest",
        remake(run / "dataset/index.csv"),
    )
    products = read_record(record_of(run / "dataset/index.csv"))["products"]  # as if the index had been made again
    edit_record(
        run / "dataset/index.csv",
        products=[p | ({"digest": file_digest(path)} if p["path"].endswith("classes.csv") else {}) for p in products],
    )
    stale = [line for line in lines(run) if "stale: made from an earlier dataset/classes.csv" in line]
    assert len(stale) > 30
    assert any("cam/seeds/round-1/classifier.pt" in line for line in stale)


def test_several_versions_in_one_run_are_a_warning(run):
    record = read_record(record_of(run / SCORES))
    edit_record(run / SCORES, libraries={**record["libraries"], "torch": "1.13.0"}, device="cuda (a)")
    found = lines(run)
    assert len(found) == 2
    assert all(line.startswith("warning: ") for line in found)
    assert any("more than one torch" in line and "1.13.0 made 1 product (e.g. " + SCORES in line for line in found)
    assert any("more than one device" in line for line in found)


def test_products_of_an_earlier_configuration_are_a_warning(run, tmp_path, finished):
    over = tmp_path / "over.yaml"
    over.write_text(json.dumps({"seeds": {"rounds": {"count": 1}}}))
    found = [line for line in lines(run, finished.folder / "toy.yaml", over) if line.startswith("warning")]
    only(found, "no product of this configuration", "round-2")


def test_an_unfinished_run_says_what_it_could_not_compare(run):
    for name in ("metrics.csv", "report/index.html"):
        record_of(run / name).unlink()
        (run / name).unlink()
    verdict = verify(run, [], images=False)
    assert verdict.findings == []
    assert "settings not compared" in str(verdict)


def test_settings_of_another_version_are_said_and_not_compared(run):
    edit_record(run / "metrics.csv", settings={"settings": {"config": {"removed": 1}, "rounds": {}}})
    edit_record(run / "dataset/index.csv", settings={"settings": {"dataset": {"removed": 1}}})
    verdict = verify(run, [], images=False)
    assert "settings not compared: metrics.csv was made with settings that this version does not know" in str(verdict)
    only(
        [str(f) for f in verdict.findings],
        f"{run / 'dataset/index.csv'}: found a record whose settings this version does not know",
    )


# ---------------------------------------------------------------- images and labels


def test_a_replaced_image_is_named_and_one_saved_anew_is_not(run):
    path = sorted((run / "dataset/scenes/images").glob("*.png"))[0]
    pixels = np.asarray(Image.open(path))
    path.unlink()
    Image.fromarray(pixels).save(path, compress_level=9)
    assert lines(run, images=True) == []
    changed = pixels.copy()
    changed[3, 4, 0] ^= 1
    path.unlink()
    Image.fromarray(changed).save(path)
    assert lines(run) == []
    only(
        lines(run, images=True),
        f"{path}: found other pixels",
        "as when the index was made",
        f"if it is meant to be so, snakemake {run / 'dataset/index.csv'} --forcerun {run / 'dataset/index.csv'}",
    )
    path.unlink()
    only(lines(run, images=True), path, "does not exist")


@pytest.fixture
def photographs(tmp_path, monkeypatch) -> Path:
    """results/mine of a folder of photographs, its index made by the real stage; the folder is photos/."""
    monkeypatch.chdir(tmp_path)
    write_photographs(tmp_path / "photos", count=6)
    section = {
        "dataset": {"kind": "folder", "folder": {"root": "photos", "labels": "labels.csv", "classes": ["red", "blue"]}}
    }
    words = [
        "index_images",
        "--settings",
        json.dumps(section),
        "--output",
        "results/mine/dataset/index.csv",
        "--log",
        "log",
    ]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    return tmp_path / "photos" / "labels.csv"


def test_sorting_the_labels_does_not_matter_and_changing_one_does(photographs):
    run = Path("results/mine")
    assert lines(run, images=True) == []
    header, *rows = photographs.read_text().splitlines()
    photographs.write_text("\n".join([header, *sorted(rows, reverse=True)]) + "\n")
    assert lines(run, images=True) == []
    photographs.write_text("\n".join([header, *rows]).replace("3.jpg,blue", "3.jpg,red;blue") + "\n")
    only(
        lines(run),
        "photos/labels.csv: image 3: found train blue;red, expected train blue as when the index was made",
        "to repair: put it back as it was; or, if it is meant to be so, snakemake results/mine/dataset/index.csv",
    )
    photographs.write_text("\n".join([header, *rows[1:]]) + "\n")
    only(lines(run), "image 0: found no such row, expected train red")
    photographs.unlink()
    only(lines(run), "its data set cannot be read any more", "no such file")


def test_inferred_classes_in_another_order_are_named(tmp_path, monkeypatch):
    """Columns in another order are classes in another order. With one label an image the index stays the same."""
    monkeypatch.chdir(tmp_path)
    write_photographs(tmp_path / "photos", count=6)
    table = tmp_path / "photos" / "labels.csv"
    table.write_text("image,red,blue\n" + "".join(f"{k}.jpg,{1 - k % 2},{k % 2}\n" for k in range(6)))
    words = [
        "index_images",
        "--settings",
        '{"dataset": {"kind": "folder", "folder": {"root": "photos"}}}',
        "--output",
        "results/mine/dataset/index.csv",
    ]
    assert CliRunner().invoke(main, [*words, "--log", "log"], catch_exceptions=False).exit_code == 0
    assert lines(Path("results/mine")) == []
    table.write_text("image,blue,red\n" + "".join(f"{k}.jpg,{k % 2},{1 - k % 2}\n" for k in range(6)))
    only(lines(Path("results/mine")), "found classes blue, red, expected red, blue, in this order")


# ---------------------------------------------------------------- repaired


def test_the_named_command_repairs_it(finished, monkeypatch):
    """A map and a mask of the run are damaged. After the commands that are named it is sound again, to the bit."""
    monkeypatch.chdir(finished.folder)
    run = Path("results/toy")
    damaged = [sorted((run / "erasing/masks/val").glob("*.png"))[0], run / "metrics/cam/seed.csv"]
    before = [p.read_bytes() for p in damaged]
    put(damaged[0], flipped(damaged[0]))
    put(damaged[1], damaged[1].read_bytes().replace(b"miou", b"moiu"))
    found = [f for f in verify(run, [], images=False).findings if not f.warning]
    assert {f.file for f in found} == {str(p) for p in damaged}
    forced = [shlex.split(f.remedy)[-1] for f in found]
    assert [f.remedy for f in found] == [f"snakemake {file} --forcerun {file}" for file in forced]
    assert set(forced) == {"results/toy/erasing/masks/val.csv", "results/toy/metrics/cam/seed.csv"}
    done = finished.snakemake(*forced, "--forcerun", *forced)
    assert done.returncode == 0, done.stdout + done.stderr
    assert finished.reruns() == {}
    assert [p.read_bytes() for p in damaged] == before
    assert verify(run, [], images=False).findings == []


def test_verifying_imports_no_torch(finished):
    code = (
        "import sys; from pathlib import Path; from wsss.provenance.verify import verify;"
        "verify(Path('toy'), [], images=True); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=finished.folder,
        env={**os.environ, "PYTHONPATH": str(finished.folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
