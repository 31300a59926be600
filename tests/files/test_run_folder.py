"""Which run a file belongs to."""

from __future__ import annotations

from wsss.files.run_folder import enclosing_run


def test_the_nearest_folder_with_an_index(tmp_path):
    inside = tmp_path / "run" / "cam" / "seeds" / "a.h5"
    assert enclosing_run(inside) is None
    for folder in (tmp_path, tmp_path / "run"):
        (folder / "dataset").mkdir(parents=True)
        assert enclosing_run(inside) == (tmp_path if folder != tmp_path else None)
        (folder / "dataset" / "index.csv").touch()
        assert enclosing_run(inside) == folder
