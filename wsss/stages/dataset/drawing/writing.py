"""The embedded data set as PNG files (no torch)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from wsss.files.imaging import VOC_COLOURS, save_image
from wsss.runtime import console
from wsss.settings.sections import ScenesSection
from wsss.stages.dataset.drawing.scene import draw_scene


def draw_scenes(folder: Path, *, settings: ScenesSection) -> list[dict[str, object]]:
    """Draw the data set and write it as PNGs.

    Args:
        folder: Where images/, masks/, instances/ and context/ are made. Masks are palette PNGs with the VOC colours.
        settings: Sizes, counts and the seed of the drawing.

    Returns:
        One dict an image: image_id, split, height, width, labels (class names), and the paths image, mask, instances,
        context, relative to `folder`.
    """
    for kind in ("images", "masks", "instances", "context"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    return [
        _write(folder, split=split, number=number, settings=settings)
        for split, number in console.progress(list(_numbers(settings)), what="draw scenes")
    ]


def _numbers(settings: ScenesSection) -> Iterator[tuple[str, int]]:
    for split, count in (("train", settings.train), ("val", settings.val)):
        yield from ((split, number) for number in range(1, count + 1))


def _write(folder: Path, *, split: str, number: int, settings: ScenesSection) -> dict[str, object]:
    """Draw and write one image; its row."""
    scene = draw_scene(settings.generator_seed, split, number, min_side=settings.min_side, max_side=settings.max_side)
    image_id = f"{split}_{number:04d}"
    folders = {"image": "images", "mask": "masks", "instances": "instances", "context": "context"}
    paths = {key: f"{name}/{image_id}.png" for key, name in folders.items()}
    save_image(folder / paths["image"], Image.fromarray(scene.image_u8), compress_level=1)
    for key, plane in (("mask", scene.mask), ("instances", scene.instances), ("context", scene.context)):
        image = Image.fromarray(plane)
        if key != "context":
            image.putpalette(VOC_COLOURS.tobytes())
        save_image(folder / paths[key], image)
    height, width = scene.mask.shape
    return {"image_id": image_id, "split": split, "height": height, "width": width, "labels": scene.labels, **paths}
