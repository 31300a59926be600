"""Digests of code and listings: what rules compare to know what to rerun (no torch)."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from wsss.workflow.stages import STAGES

PACKAGE = Path(__file__).parents[1]
LEFT_OUT = (
    "wsss.__main__",
    "wsss.cli",
    "wsss.provenance",
    "wsss.settings",
    "wsss.runtime",
    "wsss.files.limits",
    "wsss.workflow.digests",
)
"""Rooms and modules whose edits never change a result, and so rerun nothing.

The command line, records, messages, signals and processes only carry results. A stage is given the values of its
settings as `params`. `files/limits.py` holds limits that refuse; a limit that cuts is beside its reader.
"""


def stage_code(stage: str, settings: Any = None) -> str:
    """Digest of a stage's code, with the modules that it imports by name.

    Args:
        stage: A key of STAGES.
        settings: What the stage is given: they name e.g. the method whose module it imports.
    """
    entry = STAGES[stage]
    known = settings is not None or entry.view is None
    named = entry.imports(settings) if entry.imports and known else []
    return code_digest(f"wsss.stages.{entry.folder}.{stage}", *named)


def code_digest(*modules: str) -> str:
    """Digest of `modules` and everything within wsss that they import at any level, outside the rooms left out.

    Comments, docstrings, formatting and the texts of errors that are raised do not count.

    Args:
        modules: Dotted names, e.g. "wsss.stages.seeds.extract_scores", or a module of another package. Imports by
            name at run time (method modules) are not followed: name them.

    Returns:
        12 hexadecimal digits.
    """
    text = "".join(f"{name}\n{_parse(name)[0]}\n{_templates(name)}" for name in sorted(reached(*modules)))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def reached(*modules: str) -> set[str]:
    """`modules`, and every module within wsss that they import at any level outside the rooms left out."""
    seen: set[str] = set()
    queue = list(modules)
    while queue:
        name = queue.pop()
        left_out = name == "wsss" or any(name == out or name.startswith(f"{out}.") for out in LEFT_OUT)
        if name in seen or (left_out and name not in modules):
            continue
        seen.add(name)
        queue += _parse(name)[1]
    return seen


@cache
def _parse(name: str) -> tuple[str, tuple[str, ...]]:
    """Stripped syntax tree of a module, and the modules of wsss and of its own package that it imports."""
    path = _file(name)
    if path is None:
        raise ValueError(f"{name} is no module that can be found")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [
                s
                for s in node.body
                if not (
                    isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) and isinstance(s.value.value, str)
                )
            ] or [ast.Pass()]
    _blank_messages(tree)
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports += [node.module] + [f"{node.module}.{a.name}" for a in node.names]
    own = {"wsss", name.partition(".")[0]}
    return ast.dump(tree), tuple(i for i in imports if i.partition(".")[0] in own and _file(i))


def _blank_messages(tree: ast.AST) -> None:
    """Empty the texts of every `raise`: other words for a refusal change no result."""
    for node in (part for r in ast.walk(tree) if isinstance(r, ast.Raise) for part in ast.walk(r)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""


def _templates(name: str) -> str:
    """Page templates beside a module that loads them with jinja2."""
    path = _file(name)
    if path is None or "jinja2" not in path.read_text(encoding="utf-8"):
        return ""
    return "".join(t.read_text(encoding="utf-8") for t in sorted(path.parent.glob("*.j2")))


def _file(name: str) -> Path | None:
    package, *rest = name.split(".")
    if package == "wsss":
        root = PACKAGE
    else:
        spec = importlib.util.find_spec(package)  # a package alone is found without being run
        if spec is None or spec.origin is None:
            return None
        root = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin).with_suffix("")
    base = root.joinpath(*rest)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def listing_digest(*paths: Path, left_out: Collection[Path] = ()) -> str:
    """Digest of the files under `paths`: relative name, size and modification time; a missing path counts as such.

    Args:
        *paths: Files and folders.
        left_out: Files under them that do not count.
    """
    digest = hashlib.blake2b(digest_size=8)
    for root in paths:
        files = sorted(p for p in root.rglob("*") if p not in left_out and p.is_file()) if root.is_dir() else [root]
        for path in files:
            try:
                state = path.stat()
                name = os.fsencode(
                    path.relative_to(root) if path != root else path.name
                )  # a name on disk need not be UTF-8
                digest.update(name + f"\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
            except OSError:
                digest.update(os.fsencode(path) + b"\0missing\n")
    return digest.hexdigest()
