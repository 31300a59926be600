"""Data sets that are a folder of images and a CSV of labels. Reads the CSV, no image (no torch)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from wsss.runtime.console import log
from wsss.settings.sections import FolderSection
from wsss.stages.dataset.faults import DataError, Faults
from wsss.stages.dataset.names import check_names, check_similar
from wsss.stages.dataset.paths import file_names, link_fault, path_fault
from wsss.stages.dataset.source import SPLITS, Description, Source, SourceRow
from wsss.stages.dataset.table import Table
from wsss.workflow.digests import listing_digest
from wsss.workflow.listing import rows_digest


class FolderSource(Source):
    """`dataset.kind: folder`."""

    settings: FolderSection

    def read(self, faults: Faults, *, folder: Path, workers: int) -> Description:
        """As `read_folder`; nothing is drawn."""
        return read_folder(self.settings, faults)

    def count(self) -> dict[str, int]:
        """Rows of the CSV."""
        (table,) = self.labels()
        table.stat()  # an OSError that names the file, if there is none
        rows = Table(table, Faults()).rows
        val = sum(cells.get("split") == "val" for _, cells in rows)
        return {"train": len(rows) - val, "val": val}

    def listing(self) -> str:
        """Images and masks by name, size and time; the CSV by its rows in any order."""
        (table,) = self.labels()
        masks = [Path(self.settings.masks)] if self.settings.masks else []
        listed = listing_digest(Path(self.settings.root), *masks, left_out=[table])
        return f"{listed}-{rows_digest(table, header=True)}"

    def labels(self) -> list[Path]:
        """The CSV."""
        return [Path(self.settings.root) / self.settings.labels]


def read_folder(settings: FolderSection, faults: Faults) -> Description:
    """Read a folder of images and a CSV of labels, in either form.

    The image id is the path without its suffix, "/" replaced by "__".

    Args:
        settings: Root, CSV, classes and masks.
        faults: Receives what is wrong.

    Returns:
        The description. Its images may be missing or broken.

    Raises:
        DataError: If the CSV is missing or its header cannot be used.
    """
    root, path = Path(settings.root), Path(settings.root) / settings.labels
    if wrong := link_fault(path, settings.labels):
        raise DataError(f"dataset.folder.labels: {wrong}")
    table = Table(path, faults)
    names = list(settings.classes) or table.class_names()
    check_names(names, faults, where="dataset.folder.classes" if settings.classes else path.name)
    columns = [] if table.has("labels") else table.class_columns(names, faults, given=bool(settings.classes))
    masks = _mask_folder(settings, root)
    found = [_row(root, cells, table.labels(cells, columns), masks, faults, where=where) for where, cells in table.rows]
    rows = [row for row in found if row is not None]
    if not settings.classes:
        check_similar(rows, names, faults, where=path.name)
    if masks is not None and rows and not any(row.mask for row in rows):
        expected = f"expected names like {rows[0].image_id}.png"
        faults.add("mask", f"dataset.folder.masks {masks[0]}: no mask of any image in it; {expected}")
    return Description(where=str(path), names=names, rows=rows)


def _row(
    root: Path,
    cells: dict[str, str],
    labels: tuple[str, ...],
    masks: tuple[Path, set[str]] | None,
    faults: Faults,
    *,
    where: str,
) -> SourceRow | None:
    """One image; None and a fault if its path or its split cannot be used."""
    text = cells["image"]
    if not PurePosixPath(text).name:
        wrong = f"the cell `image` holds {text!r}, no file name; give a path, or delete the row"
    else:
        wrong = path_fault(text, root)
    if wrong:
        faults.add("path", f"{where}: {wrong}")
        return None
    image_id = "__".join(PurePosixPath(text).with_suffix("").parts)
    split = cells.get("split", "train")
    if split not in SPLITS:
        faults.add("split", f"{where}: split {split!r} is neither 'train' nor 'val'")
        return None
    mask = _mask(root, cells.get("mask", ""), masks, image_id, faults, where=where)
    return SourceRow(
        where=where,
        image_id=image_id,
        split=split,
        labels=labels,
        image=root / text,
        mask=mask,
        measured=mask is not None,
    )


def _mask_folder(settings: FolderSection, root: Path) -> tuple[Path, set[str]] | None:
    """The folder of truth masks and the names in it."""
    if not settings.masks:
        return None
    folder = Path(settings.masks)
    if not folder.is_dir():
        inside = root / folder
        hint = f"did you mean {inside}?" if inside.is_dir() else "leave it empty if there are no masks"
        raise DataError(f"dataset.folder.masks {folder}: no such folder; {hint}")
    log.info("truth masks: %s", folder)
    return folder, file_names(folder)


def _mask(
    root: Path, cell: str, masks: tuple[Path, set[str]] | None, image_id: str, faults: Faults, *, where: str
) -> Path | None:
    """The mask that the row names, or else the one in the folder of masks."""
    base, name = root, cell
    if not cell and masks and f"{image_id}.png" in masks[1]:
        base, name = masks[0], f"{image_id}.png"
    if name and (wrong := path_fault(name, base)):
        faults.add("path", f"{where}: mask {wrong}")
        return None
    return base / name if name else None
