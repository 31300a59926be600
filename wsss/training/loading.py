"""Training images: read, resized, cropped, mirrored together with their per-pixel targets; every draw keyed on the image and the epoch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch

from wsss.files.errors import ArtefactError
from wsss.files.imaging import Normalisation, erase, normalise, read_indexed_image, resize_image, resize_mask
from wsss.files.index import ImageRow
from wsss.files.mask_values import IGNORE
from wsss.runtime.console import log
from wsss.runtime.out_of_memory import is_out_of_memory
from wsss.runtime.stopping import ignore_signals
from wsss.settings.sections import AugmentSection
from wsss.training import draws

CACHE_BYTES = 600_000_000
"""Decoded images are kept in memory up to this size, over all loader processes of all processes of a training together."""


class TrainingImages(torch.utils.data.Dataset):
    """Random crops of training images; items are asked for by (epoch, position).

    Attributes:
        processes: How many processes of a training hold such an object, and share the memory for decoded images.
    """

    def __init__(
        self,
        rows: list[ImageRow],
        *,
        normalisation: Normalisation,
        augment: AugmentSection,
        seed: int,
        stage: str,
        round: int,
        mean_rgb: np.ndarray,
        erased: Callable[[ImageRow], np.ndarray | None] | None = None,
        planes: Mapping[str, Callable[[ImageRow], np.ndarray]] | None = None,
    ) -> None:
        """Remember how to make an item; nothing is read yet.

        Args:
            rows: The images.
            normalisation: Of the network.
            augment: Random resize, crop, flip.
            seed: Of the models.
            stage: Key of the draws, e.g. "train_classifier".
            round: Round or cycle; key of the draws.
            mean_rgb: (3,) colour of padding and erased pixels, [0, 255].
            erased: Row to (H, W) bool of hidden pixels, or None.
            planes: Named per-pixel targets, augmented with the image: (H, W) uint8 masks (nearest, padded with 255) or float32 cues (bilinear, padded with 0).
        """
        self.rows, self.normalisation, self.augment = rows, normalisation, augment
        self.seed, self.stage, self.round, self.mean_rgb = seed, stage, round, mean_rgb
        self.erased, self.planes = erased, dict(planes or {})
        self.processes = 1
        self._cache: dict[int, np.ndarray] = {}
        self._cached = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """One item: image_n (3, c, c) float32, labels (C,) float32, image_id, and the planes (c, c).

        Raises:
            ArtefactError: If the image is unreadable, or it or a plane has not the size that the index says.
        """
        epoch, position = key
        row = self.rows[position]
        draw = draws.generator(self.seed, self.stage, self.round, epoch, row.image_id)
        scale = draw.uniform(self.augment.resize_min, self.augment.resize_max) / max(row.height, row.width)
        size = (max(1, round(row.height * scale)), max(1, round(row.width * scale)))
        crop = self.augment.crop
        corner = (int(draw.integers(max(0, size[0] - crop) + 1)), int(draw.integers(max(0, size[1] - crop) + 1)))
        mirrored = bool(draw.random() < 0.5) and self.augment.flip

        def place(plane: np.ndarray, fill: Any) -> np.ndarray:
            canvas = np.empty((crop, crop, *plane.shape[2:]), plane.dtype)
            canvas[:] = fill
            part = (plane[:, ::-1] if mirrored else plane)[corner[0] : corner[0] + crop, corner[1] : corner[1] + crop]
            canvas[: part.shape[0], : part.shape[1]] = part
            return canvas

        image_u8 = place(resize_image(self._read(position), size=size), np.round(self.mean_rgb).astype(np.uint8))
        item: dict[str, Any] = {
            "image_n": torch.from_numpy(normalise(image_u8, self.normalisation)),
            "labels": torch.from_numpy(row.labels.astype(np.float32)),
            "image_id": row.image_id,
        }
        for name, read in self.planes.items():
            plane = read(row)
            if plane.shape != (row.height, row.width):
                raise ArtefactError(
                    f"image {row.image_id}: {name} of {plane.shape}, expected {(row.height, row.width)} (height, width); delete its files and rerun"
                )
            assert plane.dtype in (np.uint8, np.float32), f"{name}: {plane.dtype}"
            if plane.dtype == np.uint8:
                item[name] = torch.from_numpy(place(resize_mask(plane, size=size), IGNORE))
            else:
                item[name] = torch.from_numpy(
                    place(cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), 0)
                )
        return item

    def _read(self, position: int) -> np.ndarray:
        """The image, erased where it is hidden."""
        if position in self._cache:
            return self._cache[position]
        row = self.rows[position]
        image_u8 = read_indexed_image(row)
        region = self.erased(row) if self.erased else None
        if region is not None and region.any():
            image_u8 = erase(image_u8, region, colour=self.mean_rgb)
        loader = torch.utils.data.get_worker_info()
        if self._cached + image_u8.nbytes <= CACHE_BYTES // ((loader.num_workers if loader else 1) * self.processes):
            self._cache[position] = image_u8
            self._cached += image_u8.nbytes
        return image_u8


def start_loader(worker: int) -> None:
    """Called in each loader process: one thread each, and no use of OpenCV's pool, whose threads a fork does not copy; signals that ask the training to stop are left to the training."""
    cv2.setNumThreads(0)
    ignore_signals()


def batches(loader: torch.utils.data.DataLoader) -> Iterator[Mapping[str, Any]]:
    """The batches; a bad input met by a loader process, or its lack of memory, is told as in this one, without that process's traceback."""
    try:
        yield from loader
    except ArtefactError as error:
        raise ArtefactError(str(error).rpartition("ArtefactError: ")[2].strip()) from None
    except (MemoryError, RuntimeError) as error:  # torch makes the second of numpy's first
        if not is_out_of_memory(error):
            raise
        raise MemoryError(str(error).strip().splitlines()[-1]) from None


@contextmanager
def loaders_named(workers: int) -> Iterator[None]:
    """A block in which the death of a loader process is told as what it most often is. torch says it wherever the training happens to be.

    Args:
        workers: compute.workers.

    Raises:
        OSError: If a loader process was killed.
    """
    try:
        yield
    except RuntimeError as error:
        if not re.search(r"DataLoader worker \(pid", str(error)):
            raise
        log.info("%s", str(error).strip().splitlines()[0])
        raise OSError(
            f"a process that loads images was killed, most often for lack of memory; compute.workers is {workers}: use fewer, or give the job more memory;"
            " the training goes on after its last finished epoch when started again"
        ) from None


class EpochOrder(torch.utils.data.Sampler):
    """Batches of (epoch, position) in an order keyed on (seed, stage, round, epoch); a last, smaller batch is dropped unless it is the only one.

    Attributes:
        epoch: To iterate over.
        begin: The first batch of it.
    """

    def __init__(self, images: TrainingImages, *, batch_size: int, rows: Callable[[int], slice] = slice) -> None:
        """Order of `images`; set `epoch` and `begin` before iterating.

        Args:
            images: The training images.
            batch_size: Images a step.
            rows: Batch size to the rows that this process loads: all, unless several processes share a batch.
        """
        self.images, self.batch_size = images, min(batch_size, max(1, len(images)))
        self.rows, self.epoch, self.begin = rows(self.batch_size), 0, 0

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """This process's rows of the batches of one epoch, from batch `begin` on."""
        for batch in self.whole()[self.begin :]:
            yield [(self.epoch, position) for position in batch[self.rows]]

    def whole(self) -> list[list[int]]:
        """Positions of the images of every batch of the epoch."""
        i = self.images
        order = draws.generator(i.seed, i.stage, i.round, self.epoch).permutation(len(i)).tolist()
        return [order[k * self.batch_size : (k + 1) * self.batch_size] for k in range(len(self))]
