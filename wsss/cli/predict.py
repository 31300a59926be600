"""`wsss predict`: masks of new photographs from a trained segmenter."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_image, resize_image, save_image, save_mask
from wsss.files.limits import CONTROL
from wsss.files.overlay import mask_overlay
from wsss.files.store import MapReader
from wsss.files.text_files import open_text, write_csv
from wsss.runtime.console import progress
from wsss.settings.sections import ComputeSection
from wsss.settings.stage_settings import PredictSettings
from wsss.stages.segment.inference import TrainedSegmenter, full_mask, load_segmenter, probabilities
from wsss.training.loop import pick_device

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
LISTED = 20
"""Faults named in an error; then a count."""
COLUMNS = ("image", "mask", "classes", "shares")


def predict_images(
    *,
    model: Path,
    images: list[Path],
    output: Path,
    overlay: bool = True,
    scales: list[float] | None = None,
    compute: ComputeSection,
) -> str:
    """Segment photographs. Masks have their size; the network sees none larger than its training images.

    Args:
        model: segmenter.pt.
        images: Files, or folders of them.
        output: Folder for NAME.png (palette mask), NAME_overlay.png and predictions.csv.
        overlay: Also write the photograph under its mask.
        scales: Image scales to average; None: those of the model's own run.
        compute: Device and threads.

    Returns:
        The number of masks, the scales, flip, and where these come from, as a sentence.

    Raises:
        ArtefactError: If the output is a file, the model or any image cannot be read, or two images have one name.
            Then nothing is written.
    """
    if output.is_file():
        raise ArtefactError(f"{output}: is a file; --output names a folder")
    files = _files(images, output=output)
    trained = load_segmenter(model, device=pick_device(compute))
    chosen, origin = _settings(model, trained, scales=scales)
    psl = chosen.psl
    if psl.test_weighting == "labels":  # the upper bound: new photographs have no labels
        psl = psl.model_copy(update={"test_weighting": "predicted"})
    rows = []
    output.mkdir(parents=True, exist_ok=True)
    for file in progress(files, what="prediction"):
        image_u8 = read_image(file)
        shrunk = _shrunk(image_u8, longest=trained.settings.train.augment.resize_max)
        f = probabilities(trained, shrunk, psl=psl, predict=chosen.predict)
        mask = full_mask(f, size=image_u8.shape[:2])
        save_mask(output / f"{file.stem}.png", mask)
        if overlay:
            save_image(output / f"{file.stem}_overlay.png", Image.fromarray(mask_overlay(image_u8, mask)))
        rows.append(_row(file, mask, class_names=trained.class_names))
    write_csv(output / "predictions.csv", COLUMNS, [*_earlier(output, rows), *rows])
    return f"{len(rows)} masks, scales {chosen.predict.scales}{', flip' if chosen.predict.flip else ''} ({origin})"


def _row(file: Path, mask: np.ndarray, *, class_names: list[str]) -> dict[str, str]:
    """A row of predictions.csv: the classes of a mask and their shares of its pixels."""
    present = [int(c) for c in np.unique(mask) if c > 0]
    return {
        "image": str(file),
        "mask": f"{file.stem}.png",
        "classes": ";".join(class_names[c] for c in present),
        "shares": ";".join(f"{(mask == c).mean():.3f}" for c in present),
    }


def _settings(model: Path, trained: TrainedSegmenter, *, scales: list[float] | None) -> tuple[PredictSettings, str]:
    """PSL's test phase and scales, and where they come from: `scales`, the model's run, or the defaults."""
    chosen = PredictSettings(psl=trained.settings.psl)
    origin = "the default: the run's predictions are not beside the model; --scale changes it"
    for file in sorted((model.parent / "predictions").glob("*.h5"))[:1]:
        with MapReader(file) as maps:
            chosen, origin = PredictSettings.model_validate(maps.settings), "as its run predicted"
    if scales:
        predict = chosen.predict.model_copy(update={"scales": scales})
        chosen, origin = chosen.model_copy(update={"predict": predict}), "as asked for"
    return chosen, origin


def _earlier(output: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows of an earlier call into the same folder whose masks are still there, and are not among `rows`."""
    path = output / "predictions.csv"
    if not path.exists():
        return []
    new = {row["mask"] for row in rows}
    with open_text(path) as file:
        known = [row for row in csv.DictReader(file) if set(COLUMNS) <= row.keys()]
    return [row for row in known if row["mask"] not in new and (output / row["mask"]).exists()]


def _shrunk(image_u8: np.ndarray, *, longest: int) -> np.ndarray:
    """The image, no larger than training images: the network has never seen objects as large as a camera's."""
    factor = longest / max(image_u8.shape[:2])
    if factor >= 1:
        return image_u8
    height, width = (max(1, round(side * factor)) for side in image_u8.shape[:2])
    return resize_image(image_u8, size=(height, width))


def _files(images: list[Path], *, output: Path) -> list[Path]:
    """All files. Each is read once, so that nothing is written if one is bad."""
    files = [f for i in images for f in (_images(i, output=output) if i.is_dir() else [i])]
    if not files:
        named = ", ".join(map(str, images))
        raise ArtefactError(f"no images in {named}; expected files ending in {', '.join(SUFFIXES)}")
    stems = Counter(f.stem for f in files)
    faults = [fault for file in files for fault in _faults(file, stems=stems, output=output)]
    if faults:
        more = f"\nand {len(faults) - LISTED} more" if len(faults) > LISTED else ""
        raise ArtefactError("\n".join(faults[:LISTED]) + more)
    return files


def _faults(file: Path, *, stems: Mapping[str, int], output: Path) -> list[str]:
    """Why a file cannot be segmented into the output folder; `stems` counts the images of each name."""
    if CONTROL.search(str(file)):
        return [f"{str(file)!r}: the name holds a control character or is not UTF-8; rename the file"]
    faults, stem = [], file.stem
    if file.resolve().parent == output.resolve():
        faults.append(f"{file}: is in the output folder, where masks would overwrite it; give another --output")
    if stems[stem] > 1:
        faults.append(f"{file}: {stems[stem]} images are called {stem}; their masks would overwrite each other")
    if f"{stem}_overlay" in stems:
        faults.append(f"{file}: its overlay would overwrite the mask of {stem}_overlay; rename one")
    try:
        read_image(file)
    except ArtefactError as error:
        faults.append(str(error))
    return faults


def _images(folder: Path, *, output: Path) -> list[Path]:
    """The images of a folder, sorted. Those of an output folder inside it are left out: they are earlier results."""
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    inside = output.resolve() != folder.resolve() and output.resolve().is_relative_to(folder.resolve())
    return [p for p in found if not (inside and p.resolve().is_relative_to(output.resolve()))]
