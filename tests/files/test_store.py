"""The packed store: what goes in comes out, whole or not at all, and damage is never read as data."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss.files.errors import ArtefactError
from wsss.files.store import MapReader, MapSet, MapWriter


def sample(seed: int = 0, *, count: int = 3) -> dict[str, tuple[list[int], dict[str, np.ndarray]]]:
    """Scores (smooth, as maps are), regions and a mask of a few images of different sizes and classes."""
    rng, out = np.random.default_rng(seed), {}
    for k in range(count):
        class_ids = sorted(rng.choice(np.arange(1, 21), rng.integers(1, 4), replace=False).tolist())
        h, w = rng.integers(3, 9, 2)
        scores = np.cumsum(rng.normal(size=(len(class_ids), h, w)), axis=2).astype(np.float16)
        regions = rng.random((len(class_ids), 4 * h, 4 * w)) > 0.5
        out[f"image/{k} é"] = (
            class_ids,
            {"scores": scores, "regions": regions, "mask": rng.integers(0, 256, (4 * h, 4 * w)).astype(np.uint8)},
        )
    return out


def write(path: Path, images: dict, **more) -> Path:
    with MapWriter(path, stage="extract_scores", settings={"scales": [1.0], "flip": True}, **more) as writer:
        for image_id, (class_ids, arrays) in images.items():
            writer.write(image_id, class_ids, **arrays)
    return path


def assert_holds(reader: MapReader | MapSet, images: dict) -> None:
    assert len(reader) == len(images)
    for image_id, (class_ids, arrays) in images.items():
        assert image_id in reader
        record = reader.read(image_id)
        assert (record.image_id, record.class_ids.tolist(), record.class_ids.dtype) == (image_id, class_ids, np.uint8)
        assert set(record.arrays) == set(arrays)
        for name, array in arrays.items():
            assert record[name].dtype == array.dtype
            np.testing.assert_array_equal(record[name], array)


# ---------------------------------------------------------------- round trips


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6))
def test_what_goes_in_comes_out(tmp_path_factory, seed, count):
    images = sample(seed, count=count)
    with MapReader(write(tmp_path_factory.mktemp("store") / "a" / "b.h5", images, code="abc")) as reader:
        assert_holds(reader, images)
        assert (reader.stage, reader.settings, reader.code) == (
            "extract_scores",
            {"scales": [1.0], "flip": True},
            "abc",
        )
        assert reader.image_ids == list(images)
        assert set(reader.array_names) == ({"scores", "regions", "mask"} if count else set())


def test_special_values_and_empty_arrays(tmp_path):
    values = np.array([[[0.0, -0.0, 65504, -65504, 6e-8]]], np.float16)
    images = {"a": ([1], {"scores": values}), "b": ([], {"scores": np.zeros((0, 3, 4), np.float16)})}
    reader = MapReader(write(tmp_path / "a.h5", images))
    assert_holds(reader, images)
    assert reader.read("a")["scores"].tobytes() == values.tobytes()  # bit for bit
    assert_holds(MapReader(write(tmp_path / "b.h5", {"b": images["b"]})), {"b": images["b"]})


def test_one_array_of_several_may_be_read_alone(tmp_path):
    reader = MapReader(write(tmp_path / "a.h5", sample()))
    assert set(reader.read(reader.image_ids[0], "mask").arrays) == {"mask"}
    with pytest.raises(ArtefactError, match=r"no array 'masks', found mask, regions, scores"):
        reader.read(reader.image_ids[0], "masks")


def test_slices_are_stored_as_they_look(tmp_path):
    base = np.arange(48, dtype=np.uint8).reshape(6, 8)
    image = {"a": ([], {"mask": base[::2, ::-3].T})}
    assert_holds(MapReader(write(tmp_path / "a.h5", image)), image)


def test_equal_content_is_equal_bytes_at_another_time(tmp_path):
    first = write(tmp_path / "a.h5", sample()).read_bytes()
    time.sleep(1.1)  # HDF5 keeps times in whole seconds, where it keeps them
    assert write(tmp_path / "b.h5", sample()).read_bytes() == first


def test_what_is_read_or_written_is_a_copy(tmp_path):
    array = np.zeros((2, 2), np.uint8)
    with MapWriter(tmp_path / "a.h5", stage="s", settings={}) as writer:
        writer.write("a", [], mask=array)
        array[:] = 7
    reader = MapReader(tmp_path / "a.h5")
    record = reader.read("a")
    assert not record["mask"].any()
    record["mask"][:] = 9
    record.class_ids[:] = 9
    assert not reader.read("a")["mask"].any()


def test_smooth_maps_are_kept_small(tmp_path):
    """Bitshuffle and lz4 are at work: a smooth map of the present classes takes less than its float16 bytes."""
    ramp = np.linspace(-3, 5, 60 * 80).reshape(1, 60, 80).astype(np.float16)
    path = write(tmp_path / "a.h5", {f"i{k}": ([1], {"scores": ramp}) for k in range(40)})
    assert path.stat().st_size < 0.5 * 40 * ramp.nbytes


# ---------------------------------------------------------------- what a writer refuses

MASK = np.zeros((2, 2), np.uint8)
SCORES = np.zeros((1, 2, 2), np.float16)


@pytest.mark.parametrize(
    ("image_id", "class_ids", "arrays", "words"),
    [
        ("first", [1], {"scores": SCORES}, "image first written twice"),
        ("b", [1], {"mask": MASK}, r"arrays \['mask'\], expected \['scores'\]"),
        ("b", [1], {"scores": SCORES, "mask": MASK}, "expected .'scores'."),
        ("b", [1], {"scores": SCORES.astype(np.float32)}, "dtype float32"),
        ("b", [1], {"scores": SCORES + np.float16(np.nan)}, "NaN or infinity"),
        ("b", [1], {"scores": SCORES + np.float16(np.inf)}, "NaN or infinity"),
        ("b", [1], {"scores": SCORES[0]}, "2-D float16, expected 3-D float16"),
        ("b", [1], {"scores": SCORES.astype(np.uint8)}, "3-D uint8, expected 3-D float16"),
        ("b", [1, 2], {"scores": SCORES}, "1 maps for 2 classes"),
        ("b", [2, 1], {"scores": SCORES.repeat(2, 0)}, r"classes \[2, 1\], expected ascending"),
        ("b", [1, 1], {"scores": SCORES.repeat(2, 0)}, "expected ascending"),
        ("b", [256], {"scores": SCORES}, r"ids in 0\.\.255"),
        ("b", [-1], {"scores": SCORES}, r"ids in 0\.\.255"),
    ],
)
def test_a_refused_image_leaves_the_others_whole(tmp_path, image_id, class_ids, arrays, words):
    with MapWriter(tmp_path / "a.h5", stage="s", settings={}) as writer:
        writer.write("first", [1], scores=SCORES)
        with pytest.raises(ValueError, match=words):
            writer.write(image_id, class_ids, **arrays)
        writer.write("last", [3], scores=SCORES + np.float16(1))
    assert_holds(
        MapReader(tmp_path / "a.h5"),
        {"first": ([1], {"scores": SCORES}), "last": ([3], {"scores": SCORES + np.float16(1)})},
    )


def test_a_refused_first_image_leaves_no_trace(tmp_path):
    with MapWriter(tmp_path / "a.h5", stage="s", settings={}) as writer:
        with pytest.raises(ValueError, match="NaN"):
            writer.write("a", [1], mask=MASK, scores=SCORES + np.float16(np.nan))
        writer.write("b", [1], scores=SCORES)
    assert_holds(MapReader(tmp_path / "a.h5"), {"b": ([1], {"scores": SCORES})})


def test_an_error_in_the_block_leaves_the_old_file(tmp_path):
    path = write(tmp_path / "a.h5", sample())
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="stopped"), MapWriter(path, stage="s", settings={}) as writer:  # noqa: PT012
        writer.write("b", [1], scores=SCORES)
        raise RuntimeError("stopped")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def killed_while_saving(path: Path) -> None:
    def half(self, content):
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    Path.write_bytes = half
    write(path, sample())


def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=killed_while_saving, args=(tmp_path / "a.h5",))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "a.h5").exists()
    (left,) = tmp_path.iterdir()  # the unfinished file, under its temporary name
    with pytest.raises(ArtefactError, match="no store file of this package, or a damaged one"):
        MapReader(left)
    assert_holds(MapReader(write(tmp_path / "a.h5", sample())), sample())


# ---------------------------------------------------------------- damage


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path):
    """A flipped bit anywhere in the file: an ArtefactError or exactly what was written, nothing else."""
    images = sample(1)
    path = write(tmp_path / "a.h5", images)
    whole = path.read_bytes()
    rng, noticed = np.random.default_rng(0), 0
    for position in rng.choice(len(whole), min(150, len(whole)), replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            with MapReader(path) as reader:
                if reader.stage == "extract_scores":
                    assert_holds(reader, images)
        except ArtefactError:
            noticed += 1
    assert noticed > 30


def test_a_chunk_s_checksum_is_tested_before_it_is_decompressed(tmp_path):
    """lz4 can crash the process on damaged chunks: the checksum must be the last filter, which reading tests first."""
    with h5py.File(write(tmp_path / "a.h5", sample())) as file:
        for name in ("scores", "regions", "mask"):
            filters = file[f"{name}/data"].id.get_create_plist()
            assert [filters.get_filter(k)[3].split(b";")[0] for k in range(filters.get_nfilters())] == [
                b"bitshuffle",
                b"fletcher32",
            ]


def test_no_text_of_any_length_is_stored(tmp_path):
    """HDF5's heap of such texts has no checksum: a flipped bit there made a reader hang."""

    def fixed(item: h5py.Dataset | np.ndarray) -> bool:
        return h5py.check_string_dtype(item.dtype) is None or h5py.check_string_dtype(item.dtype).length is not None

    with h5py.File(write(tmp_path / "a.h5", sample(), code="abc")) as file:
        assert all(fixed(file.attrs.get_id(k)) for k in file.attrs)
        assert fixed(file["image_id"])


@pytest.mark.parametrize("table", ["class_id", "image_id", "scores/shape", "scores/offset", "mask/crc32"])
def test_a_changed_table_is_noticed(tmp_path, table):
    path = write(tmp_path / "a.h5", sample())
    with h5py.File(path, "r+") as file:
        values = file[table][:]
        file[table][...] = values[::-1] if table != "class_id" else values + 1
    with pytest.raises(ArtefactError, match=r"a\.h5: ids, classes or shapes do not match their checksum"):
        MapReader(path)


def test_changed_data_is_noticed_where_it_is_read(tmp_path):
    images = sample()
    path = write(tmp_path / "a.h5", images)
    first, second, _ = images
    with h5py.File(path, "r+") as file:
        file["scores/data"][0] += np.float16(0.5)
    reader = MapReader(path)
    with pytest.raises(ArtefactError, match="scores does not match its checksum"):
        reader.read(first)
    assert reader.read(first, "mask")["mask"].shape == images[first][1]["mask"].shape
    np.testing.assert_array_equal(reader.read(second)["scores"], images[second][1]["scores"])


@pytest.mark.parametrize("keep", [0, 1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = write(tmp_path / "a.h5", sample())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep) if keep < 1 else 1])
    with pytest.raises(ArtefactError, match="damaged"):
        MapReader(path)


def test_foreign_and_missing_files_are_refused(tmp_path):
    with pytest.raises(ArtefactError, match=r"no\.h5: no such file; run the workflow"):
        MapReader(tmp_path / "no.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    path = write(tmp_path / "old.h5", sample())
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = 99
    for name, words in (("text", "damaged"), ("other", "another format"), ("old", "found 99, expected 1")):
        with pytest.raises(ArtefactError, match=words):
            MapReader(tmp_path / f"{name}.h5")


def test_an_absent_image_is_named(tmp_path):
    reader = MapReader(write(tmp_path / "a.h5", sample()))
    assert "other" not in reader
    with pytest.raises(ArtefactError, match="image other is not in this file"):
        reader.read("other")


# ---------------------------------------------------------------- processes


def readable(reader: MapReader, images: dict) -> bool:
    for _ in range(20):
        assert_holds(reader, images)
    return True


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_reader_may_be_handed_to_processes(tmp_path, start):
    """Opened and used before, too; two at once."""
    images = sample()
    reader = MapReader(write(tmp_path / "a.h5", images))
    assert_holds(reader, images)
    with multiprocessing.get_context(start).Pool(2) as pool:
        assert pool.starmap(readable, [(reader, images)] * 4) == [True] * 4
    assert_holds(reader, images)


def test_a_reader_keeps_no_file_open_until_it_reads_and_may_be_closed(tmp_path):
    def opened() -> int:
        return sum(os.path.realpath(f"/proc/self/fd/{fd}").endswith("a.h5") for fd in os.listdir("/proc/self/fd"))

    reader = MapReader(write(tmp_path / "a.h5", sample()))
    assert opened() == 0
    reader.read(reader.image_ids[0])
    assert opened() == 1
    reader.close()
    assert opened() == 0
    assert_holds(reader, sample())
    assert_holds(pickle.loads(pickle.dumps(reader)), sample())


# ---------------------------------------------------------------- shards as one


def test_shards_are_read_as_one(tmp_path):
    images = sample(count=5)
    items = list(images.items())
    paths = [write(tmp_path / f"{n}.h5", dict(items[a:b])) for n, (a, b) in enumerate(((0, 2), (2, 2), (2, 5)))]
    with MapSet(paths) as maps:
        assert_holds(maps, images)
        assert "other" not in maps
        with pytest.raises(ArtefactError, match="image other is in none of"):
            maps.read("other")
    with pytest.raises(ArtefactError, match=r"image a is in none of no file"):
        MapSet([]).read("a")


def test_an_image_in_two_shards_is_refused(tmp_path):
    paths = [write(tmp_path / f"{n}.h5", sample(count=n)) for n in (1, 2)]
    with pytest.raises(ArtefactError, match=r"is in .*1\.h5 and in .*2\.h5"):
        MapSet(paths)
