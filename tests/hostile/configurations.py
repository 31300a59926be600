"""Configurations: YAML files and stage settings, as the command line reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wsss.settings.config import load, settings
from wsss.settings.sections import Config
from wsss.settings.stage_settings import IndexSettings

from .attempt import Case, each

TEXTS: dict[str, str | bytes | Callable[[], str]] = {
    "a label that runs a command": 'run: !!python/object/apply:os.system ["touch ../outside/ran"]',
    "a label that names a function": "run: !!python/name:os.system",
    "a mapping in itself": "recipes: &a {b: *a}\n",
    "a list in itself": "methods: &a [*a]\n",
    "an alias of nothing": "run: *nothing\n",
    "lists 5,000 deep": "run: " + "[" * 5000 + "]" * 5000,
    "mappings 5,000 deep": "recipes: " + "{a: " * 5000 + "1" + "}" * 5000,
    "a number of 5,000 digits": "seed: " + "1" * 5000,
    "a number of 30 digits": "seed: " + "1" * 30,
    "infinity": "evaluate: {threshold: .inf}",
    "NaN": "evaluate: {threshold: .nan}",
    "a date for a name": "run: 2026-01-01",
    "keys that are numbers": "recipes: {1: {kind: cam}}",
    "two documents": "run: a\n---\nrun: b\n",
    "a list": "- run\n",
    "NUL": b"run: a\0b\n",
    "not UTF-8": b"run: \xff\xfe\n",
    "half a character": 'run: "\\ud800"\n',
    "a run of two dots": "run: ..",
    "a run with a slash": "run: a/b",
    "a run out of the results": "run: ../../etc",
    "a run with blanks": "run: a b",
    "a run with a newline": 'run: "a\\n"',
    "a run with a quote": 'run: "it\'s"',
    "a run with a command": "run: $(touch ../outside/ran)",
    "a run of 300 characters": "run: " + "x" * 300,
    "no run": 'run: ""',
    "a method with a command": "methods: [$(touch ../outside/ran)]",
    "a recipe with a slash": "recipes: {a/b: {kind: cam}}\nmethods: [a/b]",
    "a recipe of two dots": 'recipes: {"..": {kind: cam}}\nmethods: [".."]',
    "a recipe with a regular expression": 'recipes: {"a|.*": {kind: cam}}\nmethods: ["a|.*"]',
    "a recipe that takes a folder's name": "recipes: {dataset: {kind: cam}}",
    "a variant with a command": "segment: {variants: [$(id)]}",
    "threads with a command": 'compute: {threads: "2; touch ../outside/ran"}',
    "threads of a million": "compute: {threads: 1000000}",
    "a key of control characters": '"\\e[2J": 1\n',
    "unknown keys in a section": "dataset: {evil: 1}",
    "null for a section": "dataset: null",
}
ROOT = 'it\'s a $(touch ../outside/ran) `id` {x} \\"y\\" & | ; < > *'
LEGAL = {
    "a root with blanks, quotes, braces and a command": f'dataset: {{folder: {{root: "{ROOT}"}}}}',
    "a root of several lines": 'dataset: {folder: {root: "a\\nb"}}',
    "an anchor used twice": "recipes: {a: &a {kind: cam}, b: *a}",
    "merge keys": "recipes: {a: &a {kind: cam}, b: {<<: *a}}",
    "an empty file": "",
}
JSONS: dict[str, str] = {
    "not JSON": "{",
    "a list": "[]",
    "NaN": '{"dataset": NaN}',
    "half a character": '{"dataset": "\\ud800"}',
    "a file that is not there": "@/no/such/file.yaml",
    "a device": "@/dev/zero",
}


def yaml_file(folder: Path, *, content: str | bytes | Callable[[], str]) -> str:
    made = content() if callable(content) else content
    (folder / "c.yaml").write_bytes(made if isinstance(made, bytes) else made.encode())
    return ""


def read_yaml_file(folder: Path) -> Config:
    return load(folder / "c.yaml")


def nothing(folder: Path) -> str:
    return ""


def cases() -> list[Case]:
    """All of them."""
    out = each("configuration", TEXTS, yaml_file, read_yaml_file)
    out += each("configuration", LEGAL, yaml_file, read_yaml_file, legal=True)
    for name, text in JSONS.items():
        out.append(
            Case(kind="stage settings", name=name, build=nothing, read=lambda _, t=text: settings(IndexSettings, t))
        )
    return out
