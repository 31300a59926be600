"""The packed store.

A file that does not read back never gets its name, and nothing is shared between reads or processes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from wsss.files import store
from wsss.files.errors import ArtefactError
from wsss.files.store import MapReader, MapSet, MapWriter
from wsss.files.store_layout import CHUNK

from .test_store import sample, write

# ---------------------------------------------------------------- read back, flushed, renamed


def large() -> dict[str, tuple[list[int], dict[str, np.ndarray]]]:
    """Two masks of noise, each larger than a chunk, so that the second one has chunks of its own."""
    rng = np.random.default_rng(0)
    return {f"i{k}": ([1], {"mask": rng.integers(0, 256, (300, CHUNK // 200), dtype=np.uint8)}) for k in range(2)}


@pytest.mark.parametrize("place", ["a table", "the first map", "the last map", "half of the file"])
def test_a_file_that_the_disk_changed_gets_no_name(tmp_path, monkeypatch, place):
    """One bit of what is written lands on the disk as another: the writer notices, and the file of before stays."""
    path = write(tmp_path / "a.h5", large())
    with h5py.File(path) as file:
        data, ids = file["mask/data"].id, file["class_id"].id
        at = {
            "a table": ids.get_offset(),
            "the first map": data.get_chunk_info(0).byte_offset + 100,
            "the last map": data.get_chunk_info(data.get_num_chunks() - 1).byte_offset + 100,
            "half of the file": 0,
        }[place]
    before = path.read_bytes()

    def faulty(self: Path, content: bytes) -> None:
        changed = bytearray(content)
        changed[at] ^= 4
        with self.open("wb") as file:
            file.write(changed if at else changed[: len(changed) // 2])

    monkeypatch.setattr(Path, "write_bytes", faulty)
    with pytest.raises(ArtefactError, match=r"checksum|cannot be read|damaged"):
        write(path, large())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("count", [2, 4])
def test_a_file_of_other_images_gets_no_name(tmp_path, monkeypatch, count):
    """The disk keeps what it held before: whole, but not what was written."""
    other = write(
        tmp_path / "other.h5", {f"other{k}": v for k, v in enumerate(sample(1, count=4).values())}
    ).read_bytes()
    monkeypatch.setattr("wsss.files.store.packed", lambda **content: other)
    with pytest.raises(ArtefactError, match=r"a\.h5: the written file does not read back; check the disk and rerun"):
        write(tmp_path / "a.h5", sample(1, count=count))
    assert not (tmp_path / "a.h5").exists()


def test_maps_are_read_back_then_flushed_then_named(tmp_path, monkeypatch):
    """Every image of the temporary file is read, its bytes are flushed, it is renamed, and the folder is flushed."""
    events, flush, rename, read = [], os.fsync, os.replace, MapReader.read

    def path_of(descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}")

    monkeypatch.setattr(
        MapReader,
        "read",
        lambda self, image_id, *names: (
            events.append(("read", str(self.path), image_id)),
            read(self, image_id, *names),
        )[1],
    )
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (events.append(("flush", path_of(descriptor))), flush(descriptor))[1]
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(("rename", str(a), str(b))), rename(a, b))[1])
    path = write(tmp_path / "a.h5", sample())
    temporary = events[0][1]
    assert Path(temporary).parent == tmp_path
    reads = [("read", temporary, image_id) for image_id in sample()]
    assert events == [*reads, ("flush", temporary), ("rename", temporary, str(path)), ("flush", str(tmp_path))]


# ---------------------------------------------------------------- what the checksum of the tables covers


@pytest.mark.parametrize("attribute", ["stage", "settings", "code"])
def test_a_changed_attribute_is_noticed(tmp_path, attribute):
    path = write(tmp_path / "a.h5", sample(), code="abc")
    with h5py.File(path, "r+") as file:
        old = file.attrs[attribute]
        file.attrs.create(attribute, np.bytes_(old[:-1] + bytes([old[-1] ^ 1])))
    with pytest.raises(ArtefactError, match=r"a\.h5: ids, classes or shapes do not match their checksum"):
        MapReader(path)


def test_a_mask_that_calls_itself_true_or_false_is_noticed(tmp_path):
    path = write(tmp_path / "a.h5", sample())
    with h5py.File(path, "r+") as file:
        file["mask"].attrs["bool"] = True
    with pytest.raises(ArtefactError, match="do not match their checksum"):
        MapReader(path)


def test_a_file_that_was_not_completed_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", sample())
    with h5py.File(path, "r+") as file:
        file.attrs["complete"] = False
    with pytest.raises(ArtefactError, match="incomplete or of another format"):
        MapReader(path)


def test_settings_are_kept_in_the_order_of_their_names(tmp_path):
    """So that equal settings are equal bytes."""
    for name, settings in (("a", {"x": 1, "y": [2.5, None]}), ("b", {"y": [2.5, None], "x": 1})):
        with MapWriter(tmp_path / f"{name}.h5", stage="s", settings=settings) as writer:
            writer.write("i", [2], mask=np.zeros((1, 2), np.uint8))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "b.h5") as file:
        assert json.loads(file.attrs["settings"]) == {"x": 1, "y": [2.5, None]}


# ---------------------------------------------------------------- nothing is shared


def test_class_ids_that_a_reader_changes_are_its_own(tmp_path):
    images = sample()
    reader = MapReader(write(tmp_path / "a.h5", images))
    for image_id, (class_ids, _) in images.items():
        reader.read(image_id).class_ids[:] = 99
        assert reader.read(image_id).class_ids.tolist() == class_ids


def opened_by(reader: MapReader, image_id: str, monkeypatch) -> int:
    """How often a file is opened for one read."""
    count, whole = [0], h5py.File

    def counting(*given, **more):
        count[0] += 1
        return whole(*given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(store.h5py, "File", counting)
        reader.read(image_id)
    return count[0]


def test_each_process_opens_the_file_once_for_itself(tmp_path, monkeypatch):
    """A fork shares the file's place and its cache with its parent.

    What reads in another process opens the file anew.
    """
    images = sample()
    reader = MapReader(write(tmp_path / "a.h5", images))
    first, second, third = images
    assert [opened_by(reader, i, monkeypatch) for i in (first, second, third)] == [1, 0, 0]
    queue = multiprocessing.get_context("fork").SimpleQueue()
    process = multiprocessing.get_context("fork").Process(
        target=lambda: queue.put([opened_by(reader, i, monkeypatch) for i in (first, second)])
    )
    process.start()
    process.join()
    assert queue.get() == [1, 0]
    assert opened_by(reader, third, monkeypatch) == 0  # here it is still open


def test_shards_are_closed_together(tmp_path):
    def opened() -> int:
        return sum(os.path.realpath(f"/proc/self/fd/{d}").endswith(".h5") for d in os.listdir("/proc/self/fd"))

    items = list(sample(count=4).items())
    paths = [write(tmp_path / f"{n}.h5", dict(items[2 * n : 2 * n + 2])) for n in range(2)]
    with MapSet(paths) as maps:
        for image_id, _ in items:
            maps.read(image_id)
        assert (opened(), len(maps)) == (2, 4)
    assert opened() == 0


def test_only_the_arrays_that_are_named_are_read(tmp_path):
    """The map of another array may be damaged."""
    path = write(tmp_path / "a.h5", sample())
    with h5py.File(path, "r+") as file:
        file["scores/data"][:] += np.float16(1)
    reader = MapReader(path)
    for image_id, (_, arrays) in sample().items():
        record = reader.read(image_id, "regions", "mask")
        assert list(record.arrays) == ["regions", "mask"]
        np.testing.assert_array_equal(record["regions"], arrays["regions"])


def test_every_image_of_a_file_has_all_its_arrays(tmp_path):
    mask, scores = np.zeros((2, 2), np.uint8), np.zeros((1, 2, 2), np.float16)
    with MapWriter(tmp_path / "a.h5", stage="s", settings={}) as writer:
        writer.write("a", [1], mask=mask, scores=scores)
        for fewer in ({"mask": mask}, {"scores": scores}, {}):
            with pytest.raises(ValueError, match=r"image b has arrays .*, expected \['mask', 'scores'\]"):
                writer.write("b", [1], **fewer)
    assert MapReader(tmp_path / "a.h5").image_ids == ["a"]
