"""Training images: read, resized, cropped and mirrored together with their per-pixel targets.

Every draw is keyed on the image and the epoch.
"""

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
"""Decoded images are kept in memory up to this size, in all loader processes of a training together."""


class TrainingImages(torch.utils.data.Dataset):
    """Random crops of training images; items are asked for by (epoch, position).

    Attributes:
        processes: Number of processes that hold such an object and share the memory for decoded images.
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
            mean_rgb: (3,) float colour of padding and erased pixels, in [0, 255].
            erased: Row to (H, W) bool of hidden pixels, or None.
            planes: Named per-pixel targets, augmented with the image: (H, W) uint8 masks (nearest, padded with 255)
                or float32 cues (bilinear, padded with 0).
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
        """Make one item.

        Args:
            key: (epoch, position of the image).

        Returns:
            image_n (3, c, c) float32 normalised, labels (C,) float32 of 0 and 1, image_id, and the planes (c, c).

        Raises:
            ArtefactError: If the image cannot be read, or the image or a plane has another size than the index says.
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
                expected = (row.height, row.width)
                raise ArtefactError(
                    f"image {row.image_id}: {name} of {plane.shape}, expected {expected} (height, width); "
                    "delete its files and rerun"
                )
            assert plane.dtype in (np.uint8, np.float32), f"{name}: {plane.dtype}"
            if plane.dtype == np.uint8:
                item[name] = torch.from_numpy(place(resize_mask(plane, size=size), IGNORE))
            else:
                resized = cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)  # OpenCV: width first
                item[name] = torch.from_numpy(place(resized, 0))
        return item

    def _read(self, position: int) -> np.ndarray:
        """The image (H, W, 3) uint8 RGB, with the mean colour where it is hidden."""
        if position in self._cache:
            return self._cache[position]
        row = self.rows[position]
        image_u8 = read_indexed_image(row)
        region = self.erased(row) if self.erased else None
        if region is not None and region.any():
            image_u8 = erase(image_u8, region, colour=self.mean_rgb)
        loader = torch.utils.data.get_worker_info()
        share = CACHE_BYTES // ((loader.num_workers if loader else 1) * self.processes)
        if self._cached + image_u8.nbytes <= share:
            self._cache[position] = image_u8
            self._cached += image_u8.nbytes
        return image_u8


def start_loader(worker: int) -> None:
    """Set up a loader process: one thread, because a fork does not copy the threads of OpenCV's pool.

    Signals that ask the training to stop are left to the training.
    """
    cv2.setNumThreads(0)
    ignore_signals()


def batches(loader: torch.utils.data.DataLoader) -> Iterator[Mapping[str, Any]]:
    """Give the batches; errors of a loader process become one line, without its traceback.

    Raises:
        ArtefactError: If an image or a plane cannot be used.
        MemoryError: If a loader process lacks memory.
    """
    try:
        yield from loader
    except ArtefactError as error:
        raise ArtefactError(str(error).rpartition("ArtefactError: ")[2].strip()) from None
    except (MemoryError, RuntimeError) as error:  # torch wraps numpy's MemoryError in a RuntimeError
        if not is_out_of_memory(error):
            raise
        raise MemoryError(str(error).strip().splitlines()[-1]) from None


@contextmanager
def loaders_named(workers: int) -> Iterator[None]:
    """Name the death of a loader process, which torch reports at any place of the block.

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
            "a process that loads images was killed, most often for lack of memory; "
            f"compute.workers is {workers}: use fewer, or give the job more memory; "
            "the training goes on after its last finished epoch when started again"
        ) from None


class EpochOrder(torch.utils.data.Sampler):
    """Batches of (epoch, position) in an order keyed on (seed, stage, round, epoch).

    A last, smaller batch is dropped unless it is the only one.

    Attributes:
        epoch: To iterate over.
        begin: First batch to give.
    """

    def __init__(self, images: TrainingImages, *, batch_size: int, rows: Callable[[int], slice] = slice) -> None:
        """Order of `images`; set `epoch` and `begin` before iterating.

        Args:
            images: The training images.
            batch_size: Images a step.
            rows: Batch size to the rows that this process loads; by default all.
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
