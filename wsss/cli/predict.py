"""`wsss predict`: a trained segmenter on new photographs."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from wsss.files.artefacts import ArtefactError, open_text, write_csv
from wsss.files.imaging import VOC_COLOURS, read_image, resize_image, save_image, save_mask
from wsss.files.limits import CONTROL
from wsss.files.store import MapReader
from wsss.runtime.console import progress
from wsss.settings.sections import ComputeSection
from wsss.settings.stage_settings import PredictSettings
from wsss.stages.segment.inference import TrainedSegmenter, full_mask, load_segmenter, probabilities
from wsss.training.devices import pick_device

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
LISTED = 20
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
    """Segment photographs; masks have their size. The network sees none larger than its training images were.

    Args:
        model: segmenter.safetensors.
        images: Files, or folders of them.
        output: Folder for NAME.png (palette mask), NAME_overlay.png and predictions.csv.
        overlay: Also write the photograph under its mask.
        scales: Image scales to average; those of the model's own run if None.
        compute: Device and threads.

    Returns:
        What was chosen, in words: scales, flip, and where they come from.

    Raises:
        ArtefactError: If the output is a file, the model or any image cannot be read, or two images have one name; then nothing is written.
    """
    if output.is_file():
        raise ArtefactError(f"{output}: is a file; --output names a folder")
    files = _files(images, output=output)
    trained = load_segmenter(model, device=pick_device(compute))
    chosen, origin = _settings(model, trained)
    if scales:
        chosen, origin = (
            chosen.model_copy(update={"predict": chosen.predict.model_copy(update={"scales": scales})}),
            "as asked for",
        )
    psl, longest = chosen.psl, trained.settings.train.augment.resize_max
    if psl.test_weighting == "labels":
        psl = psl.model_copy(
            update={"test_weighting": "predicted"}
        )  # new photographs have no labels: the upper bound cannot be had
    rows = []
    output.mkdir(parents=True, exist_ok=True)
    for file in progress(files, what="prediction"):
        image_u8 = read_image(file)
        size = image_u8.shape[:2]
        f = probabilities(trained, _shrunk(image_u8, longest=longest), psl=psl, predict=chosen.predict)
        mask = full_mask(f, size=size)
        save_mask(output / f"{file.stem}.png", mask)
        if overlay:
            save_image(output / f"{file.stem}_overlay.png", Image.fromarray(blend(image_u8, mask)))
        present = [int(c) for c in np.unique(mask) if c > 0]
        shares = ";".join(f"{(mask == c).mean():.3f}" for c in present)
        rows.append(
            {
                "image": str(file),
                "mask": f"{file.stem}.png",
                "classes": ";".join(trained.class_names[c] for c in present),
                "shares": shares,
            }
        )
    write_csv(output / "predictions.csv", COLUMNS, [*_earlier(output, rows), *rows])
    return f"{len(rows)} masks, scales {chosen.predict.scales}{', flip' if chosen.predict.flip else ''} ({origin})"


def _settings(model: Path, trained: TrainedSegmenter) -> tuple[PredictSettings, str]:
    """Test phase and scales that the model's run predicted with, and where they were found; the defaults for a model that was moved away from its run."""
    for file in sorted((model.parent / "predictions").glob("*.h5")):
        with MapReader(file) as maps:
            return PredictSettings.model_validate(maps.settings), "as its run predicted"
    return PredictSettings(
        psl=trained.settings.psl
    ), "the default: the run's predictions are not beside the model; --scale changes it"


def _earlier(output: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows of an earlier call into the same folder whose masks are still there and are not written anew."""
    path = output / "predictions.csv"
    if not path.exists():
        return []
    new = {row["mask"] for row in rows}
    with open_text(path) as file:
        known = [row for row in csv.DictReader(file) if set(COLUMNS) <= row.keys()]
    return [row for row in known if row["mask"] not in new and (output / row["mask"]).exists()]


def blend(image_u8: np.ndarray, mask: np.ndarray, *, strength: float = 0.55) -> np.ndarray:
    """The photograph with classes in their colours.

    Args:
        image_u8: (H, W, 3) uint8.
        mask: (H, W) uint8.
        strength: Of the colour, in [0, 1].

    Returns:
        (H, W, 3) uint8.
    """
    mixed = (1 - strength) * image_u8 + strength * VOC_COLOURS[mask]
    return np.where(mask[..., None] > 0, mixed, image_u8).astype(np.uint8)


def _shrunk(image_u8: np.ndarray, *, longest: int) -> np.ndarray:
    """The image as large as training images are: objects of a camera's 4000 px would be of a size that the network has never seen."""
    factor = longest / max(image_u8.shape[:2])
    if factor >= 1:
        return image_u8
    return resize_image(
        image_u8, size=(max(1, round(image_u8.shape[0] * factor)), max(1, round(image_u8.shape[1] * factor)))
    )


def _files(images: list[Path], *, output: Path) -> list[Path]:
    """All files, each read once, so that nothing is written if one is bad."""
    files = [f for i in images for f in (_images(i, output=output) if i.is_dir() else [i])]
    if not files:
        raise ArtefactError(
            f"no images in {', '.join(map(str, images))}; expected files ending in {', '.join(SUFFIXES)}"
        )
    faults = []
    stems = Counter(f.stem for f in files)
    for file in files:
        if CONTROL.search(str(file)):
            faults.append(f"{str(file)!r}: the name holds a control character or is not UTF-8; rename the file")
            continue
        if file.resolve().parent == output.resolve():
            faults.append(f"{file}: lies in the output folder, where masks would overwrite it; give another --output")
        if stems[file.stem] > 1:
            faults.append(
                f"{file}: {stems[file.stem]} images are called {file.stem}; their masks would overwrite each other"
            )
        if f"{file.stem}_overlay" in stems:
            faults.append(f"{file}: its overlay would overwrite the mask of {file.stem}_overlay; rename one")
        try:
            read_image(file)
        except ArtefactError as error:
            faults.append(str(error))
    if faults:
        more = f"\nand {len(faults) - LISTED} more" if len(faults) > LISTED else ""
        raise ArtefactError("\n".join(faults[:LISTED]) + more)
    return files


def _images(folder: Path, *, output: Path) -> list[Path]:
    """The images of a folder, sorted; those of an output folder inside it are earlier results."""
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    inside = output.resolve() != folder.resolve() and output.resolve().is_relative_to(folder.resolve())
    return [p for p in found if not (inside and p.resolve().is_relative_to(output.resolve()))]
