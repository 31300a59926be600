"""Configurations: YAML files and stage settings, as the command line reads them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from wsss.settings.config import load
from wsss.settings.sections import Config
from wsss.settings.stage_settings import IndexSettings
from wsss.settings.values import settings

from .attempt import Case

SEVEN = range(1, 9)
TEXTS: dict[str, str | bytes | Callable[[], str]] = {
    "a label that runs a command": 'run: !!python/object/apply:os.system ["touch ../outside/ran"]',
    "a label that makes an object": "run: !!python/object/new:subprocess.Popen [[touch, ../outside/ran]]",
    "a label that imports": "run: !!python/module:os",
    "a label that names a function": "run: !!python/name:os.system",
    "a label of its own": "run: !evil x",
    "billion laughs": "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 10)}]\n" for k in SEVEN),
    "billion laughs by merge keys": "a0: &a0 {x: 1}\n"
    + "".join(f"a{k}: &a{k} {{<<: [{','.join([f'*a{k - 1}'] * 10)}]}}\n" for k in SEVEN),
    "a mapping in itself": "recipes: &a {b: *a}\n",
    "a list in itself": "methods: &a [*a]\n",
    "an alias of nothing": "run: *nothing\n",
    "lists 5,000 deep": "run: " + "[" * 5000 + "]" * 5000,
    "lists 50 deep": "recipes: {a: " + "[" * 50 + "]" * 50 + "}",
    "mappings 5,000 deep": "recipes: " + "{a: " * 5000 + "1" + "}" * 5000,
    "4,000 keys": lambda: "".join(f"k{k}: 1\n" for k in range(4_000)),
    "a megabyte": lambda: "run: " + "x" * 1_000_000,
    "a number of 5,000 digits": "seed: " + "1" * 5000,
    "a number of 5,000 hexadecimal digits": "seed: 0x" + "f" * 5000,
    "a number of 30 digits": "seed: " + "1" * 30,
    "infinity": "evaluate: {threshold: .inf}",
    "NaN": "evaluate: {threshold: .nan}",
    "a date for a name": "run: 2026-01-01",
    "bytes for a name": "run: !!binary aGVsbG8=",
    "a set": "methods: !!set {cam, erasing}",
    "keys that are numbers": "recipes: {1: {kind: cam}}",
    "keys that are lists": "? [a, b]\n: 1\n",
    "two documents": "run: a\n---\nrun: b\n",
    "a list": "- run\n",
    "a text": "run",
    "tabs": "run:\n\tscenes\n",
    "NUL": b"run: a\0b\n",
    "not UTF-8": b"run: \xff\xfe\n",
    "UTF-16 without a mark": "run: a\n".encode("utf-16-le"),
    "half a character": 'run: "\\ud800"\n',
    "a run of two dots": "run: ..",
    "a run with a slash": "run: a/b",
    "a run out of the results": "run: ../../etc",
    "an absolute run": "run: /tmp/x",
    "a run with blanks": "run: a b",
    "a run with a newline": 'run: "a\\n"',
    "a run with a quote": 'run: "it\'s"',
    "a run with a command": "run: $(touch ../outside/ran)",
    "a run with braces": 'run: "{params}"',
    "a run that begins with a dash": "run: -rf",
    "a run of 300 characters": "run: " + "x" * 300,
    "no run": 'run: ""',
    "a method with a command": "methods: [$(touch ../outside/ran)]",
    "a recipe with a slash": "recipes: {a/b: {kind: cam}}\nmethods: [a/b]",
    "a recipe of two dots": 'recipes: {"..": {kind: cam}}\nmethods: [".."]',
    "a recipe with a newline": 'recipes: {"evil\\n": {kind: cam}}\nmethods: ["evil\\n"]',
    "a recipe with a regular expression": 'recipes: {"a|.*": {kind: cam}}\nmethods: ["a|.*"]',
    "a recipe of 300 characters": f"recipes: {{{'x' * 300}: {{kind: cam}}}}",
    "a recipe that takes a folder's name": "recipes: {dataset: {kind: cam}}",
    "a variant with a command": "segment: {variants: [$(id)]}",
    "a kind with a command": "dataset: {kind: $(touch ../outside/ran)}",
    "a device with a command": 'compute: {device: "cpu; touch ../outside/ran"}',
    "threads with a command": 'compute: {threads: "2; touch ../outside/ran"}',
    "threads of a million": "compute: {threads: 1000000}",
    "shards of a million": "compute: {shards: {train: 1000000}}",
    "a key of control characters": '"\\e[2J": 1\n',
    "a key of 10,000 characters": f"? {'x' * 10_000}\n: 1\n",
    "unknown keys in a section": "dataset: {evil: 1}",
    "a section that is a list": "dataset: []",
    "null for a section": "dataset: null",
}
LEGAL = {
    "a root with blanks, quotes, braces and a command": 'dataset: {folder: {root: "it\'s a $(touch ../outside/ran) `id` {x} \\"y\\" & | ; < > *"}}',
    "a root of several lines": 'dataset: {folder: {root: "a\\nb"}}',
    "an anchor used twice": "recipes: {a: &a {kind: cam}, b: *a}",
    "merge keys": "recipes: {a: &a {kind: cam}, b: {<<: *a}}",
    "an empty file": "",
}
JSONS: dict[str, str] = {
    "not JSON": "{",
    "lists 100,000 deep": "[" * 100_000,
    "a number of 10,000 digits": '{"dataset": ' + "1" * 10_000 + "}",
    "a list": "[]",
    "a text": '"x"',
    "NaN": '{"dataset": NaN}',
    "half a character": '{"dataset": "\\ud800"}',
    "a file that is not there": "@/no/such/file.yaml",
    "a folder": "@/",
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
    out = [
        Case(kind="configuration", name=name, build=partial(yaml_file, content=content), read=read_yaml_file)
        for name, content in TEXTS.items()
    ]
    out += [
        Case(
            kind="configuration", name=name, build=partial(yaml_file, content=content), read=read_yaml_file, legal=True
        )
        for name, content in LEGAL.items()
    ]
    out += [
        Case(kind="stage settings", name=name, build=nothing, read=lambda _, text=text: settings(IndexSettings, text))
        for name, text in JSONS.items()
    ]
    return out
