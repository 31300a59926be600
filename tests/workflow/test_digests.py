"""Code digests: what an edit reruns."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsss.workflow import digests as provenance


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "maths.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "stage.py").write_text(
        "from wsss.maths import double\nfrom wsss.settings.config import load\n\n\ndef stage():\n    '''Doc.'''\n    return double(1)\n"
    )
    (tmp_path / "other.py").write_text("import wsss.stage\n")
    (tmp_path / "config.py").write_text("load = None\n")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    provenance._parse.cache_clear()

    def digest(name="wsss.stage"):
        provenance._parse.cache_clear()
        return provenance.code_digest(name)

    yield tmp_path, digest
    provenance._parse.cache_clear()


def test_comments_docstrings_and_formatting_do_not_count(package):
    folder, digest = package
    before = digest()
    (folder / "stage.py").write_text(
        "# why\nfrom wsss.maths import double\nfrom wsss.settings.config import load\ndef stage():\n    '''Another.'''\n    return double( 1 )\n"
    )
    assert digest() == before


def test_code_of_the_stage_and_of_its_imports_counts(package):
    folder, digest = package
    first = digest()
    (folder / "maths.py").write_text("def double(x):\n    return x + x\n")
    second = digest()
    (folder / "stage.py").write_text("from wsss.maths import double\n\n\ndef stage():\n    return double(2)\n")
    assert len({first, second, digest()}) == 3


def test_configuration_and_unrelated_modules_do_not_count(package):
    folder, digest = package
    before = digest()
    (folder / "config.py").write_text("load = 1\n")
    (folder / "other.py").write_text("x = 1\n")
    assert digest() == before


def test_an_unknown_module_is_refused(package):
    with pytest.raises(ValueError, match=r"wsss\.nothing is no module"):
        package[1]("wsss.nothing")


def test_listing_digest_notices_a_replaced_file(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"1")
    before = provenance.listing_digest(tmp_path)
    assert provenance.listing_digest(tmp_path) == before
    os.utime(tmp_path / "a.jpg", ns=(1, 1))
    assert provenance.listing_digest(tmp_path) != before
    assert provenance.listing_digest(tmp_path / "missing") != before


def test_a_page_template_counts_for_the_module_that_loads_it(package):
    folder, digest = package
    before = digest()
    (folder / "page.html.j2").write_text("<p>")
    assert digest() == before
    (folder / "stage.py").write_text("import jinja2\n")
    with_page = digest()
    (folder / "page.html.j2").write_text("<b>")
    assert digest() != with_page


def test_a_module_of_another_package_counts_with_what_it_imports(tmp_path, monkeypatch):
    (tmp_path / "outside_method").mkdir()
    for name, text in (
        ("__init__", "raise AssertionError('run')"),
        ("method", "from outside_method import pooling\nimport numpy"),
        ("pooling", "R = 1"),
    ):
        (tmp_path / "outside_method" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    provenance._parse.cache_clear()
    before = provenance.code_digest("outside_method.method")
    (tmp_path / "outside_method" / "pooling.py").write_text("R = 2")
    provenance._parse.cache_clear()
    assert provenance.code_digest("outside_method.method") != before
    with pytest.raises(ValueError, match="no_such_package"):
        provenance.code_digest("no_such_package.method")


def test_a_name_on_disk_need_not_be_utf_8(tmp_path):
    before = provenance.listing_digest(tmp_path)
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.jpg"))).write_bytes(b"x")
    assert provenance.listing_digest(tmp_path) != before
