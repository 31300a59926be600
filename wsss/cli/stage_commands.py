"""Turns a stage's keyword-only signature and docstring into a click command, so that a stage's options are spelt once."""

from __future__ import annotations

import ast
import errno
import functools
import importlib
import inspect
import os
import re
import shlex
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import click
from pydantic import BaseModel

from wsss.files.run_folder import enclosing_run
from wsss.files.temporaries import remove_leftovers
from wsss.provenance.input_checks import check_inputs, warn_of_future
from wsss.provenance.records import input_files, record_of, recorded
from wsss.runtime.console import log, logging_to
from wsss.runtime.disk_errors import DISK_FULL, unwritable
from wsss.runtime.out_of_memory import is_out_of_memory, out_of_memory_message
from wsss.runtime.stopping import Stop, stopping_at_once
from wsss.runtime.text import printable
from wsss.runtime.workflow_process import follow_workflow
from wsss.settings.config import settings
from wsss.workflow.digests import PACKAGE
from wsss.workflow.stages import STAGES, TRAININGS


def load_stage(name: str) -> Callable[..., None]:
    """The stage's function, from the module of the same name."""
    function: Callable[..., None] = getattr(importlib.import_module(f"wsss.stages.{STAGES[name]}.{name}"), name)
    return function


def stage_summary(name: str) -> str:
    """First sentence of the stage's docstring, without importing it."""
    tree = ast.parse((PACKAGE / "stages" / STAGES[name] / f"{name}.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return re.split(r"(?<=\.)\s", (ast.get_docstring(function) or name).split("\n\n")[0], maxsplit=1)[0]


def stage_command(name: str) -> click.Command:
    """The subcommand of a stage; imports that stage alone."""
    function = load_stage(name)
    helps = _argument_helps(inspect.getdoc(function) or "")
    hints = get_type_hints(function)
    options: list[click.Parameter] = [
        _option(p, hints[p.name], helps.get(p.name, "")) for p in inspect.signature(function).parameters.values()
    ]
    if "compute" in hints:
        options.append(
            click.Option(["--device"], type=click.Choice(["auto", "cpu", "cuda"]), help="Overrides compute.device.")
        )
        options.append(click.Option(["--workers"], type=int, help="Overrides compute.workers."))
    if name in TRAININGS:
        options.append(
            click.Option(
                ["--devices"],
                type=click.IntRange(0),
                default=1,
                help="Processes, one a GPU, that share each batch (0: one, as if 1).",
            )
        )
    options.append(
        click.Option(
            ["--log", "log_file"], type=click.Path(path_type=Path, dir_okay=False), help="Log file; absent: stderr."
        )
    )

    @functools.wraps(function)
    def run(log_file: Path | None, **arguments: Any) -> None:
        if "compute" in arguments:
            over = {k: arguments.pop(k) for k in ("device", "workers")}
            arguments["compute"] = arguments["compute"].model_copy(
                update={k: v for k, v in over.items() if v is not None}
            )
        models = {k: v.model_dump_json() for k, v in arguments.items() if isinstance(v, BaseModel)}
        devices = arguments.pop("devices", 1)
        follow_workflow()
        with (
            reported(),
            stopping_at_once(),
            logging_to(log_file, stage=name, settings=" ".join(f"{k}={v}" for k, v in models.items())),
        ):
            given = {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()}
            output: Path = arguments["output"]
            _remove_leftovers(name, output)
            _end_trainings(given)
            warn_of_future([record_of(output), *(p for paths in input_files(name, given).values() for p in paths)])
            with recorded(name, STAGES[name], given) as inputs:
                check_inputs(inputs)
                _call(function, given, devices=devices)

    summary = (inspect.getdoc(function) or name).split("\n\n")[0]
    lists = {"--" + n.replace("_", "-") for n, hint in hints.items() if get_origin(hint) is list}
    optional = {"--" + n.replace("_", "-") for n, hint in hints.items() if _is_optional(hint)}
    return _StageCommand(name, callback=run, params=options, help=summary, lists=lists, optional=optional)


def _remove_leftovers(name: str, output: Path) -> None:
    """Take away what a killed job left where this one will write; of folders that are no run's, only in the folder itself."""
    remove_leftovers(output.parent, below=name == "index_images" or enclosing_run(output) is not None)


def _end_trainings(arguments: dict[str, Any]) -> None:
    """Remove the resume files of the networks that a stage reads: they are there to stay."""
    networks = [
        v for k, v in arguments.items() if isinstance(v, Path) and v.suffix == ".pt" and k != "output" and v.is_file()
    ]
    if networks:
        from wsss.training.resume import finish, resume_of  # stages that read networks have imported torch

        for network in networks:
            finish(resume_of(network))


def _call(function: Callable[..., None], arguments: dict[str, Any], *, devices: int) -> None:
    """The stage, in this process or in several."""
    if devices > 1:
        from wsss.training.launching import processes_for, run_together

        compute = arguments["compute"]
        if (count := processes_for(devices, compute=compute)) > 1:
            run_together(function, arguments, count=count, cuda=compute.device != "cpu")
            return
    function(**arguments)


class _StageCommand(click.Command):
    """A command whose list options take any number of words, none too (`--regions a.h5 b.h5 --output c.h5`), and whose optional options may stand without a word."""

    def __init__(self, *arguments: Any, lists: set[str], optional: set[str], **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._lists, self._optional = lists, optional

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Gather the words of each list option into one before click reads them."""
        out: list[str] = []
        words: list[str] | None = None
        for arg in [*args, "--"]:
            if arg.startswith("--") and words is not None:
                out.append(shlex.join(words))
                words = None
            elif arg.startswith("--") and out and out[-1] in self._optional:
                out.pop()
            if words is not None:
                words.append(arg)
                continue
            out.append(arg)
            words = [] if arg in self._lists else None
        return super().parse_args(ctx, out[:-1])


class reported:  # noqa: N801 - reads as a statement: `with reported():`
    """A `with` block whose ValueError or OSError, a signal to stop, or lack of memory becomes one message on stderr, the traceback in the log, and exit code 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        if error is None:
            return
        short = is_out_of_memory(error)
        if short or isinstance(error, ValueError | OSError | Stop):
            log.debug("traceback", exc_info=error)
            click.echo(printable(f"error: {out_of_memory_message(error) if short else _in_words(error)}"), err=True)
            sys.exit(1)


def _in_words(error: BaseException) -> BaseException:
    """The error, in words where a file could not be written outside `wsss.files.atomic`, e.g. a folder could not be made."""
    if isinstance(error, OSError) and error.errno in (*DISK_FULL, errno.EROFS) and error.filename:
        return unwritable(Path(os.fsdecode(error.filename)), error) or error
    return error


class _Model(click.ParamType):
    """A settings model, given as JSON text or @FILE.yaml."""

    name = "JSON|@FILE"

    def __init__(self, model: type[BaseModel]) -> None:
        self.model = model

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> BaseModel:
        with reported():
            return value if isinstance(value, self.model) else settings(self.model, value)
        raise AssertionError("unreachable")


def _option(parameter: inspect.Parameter, hint: Any, text: str) -> click.Option:
    """One click option for one keyword-only parameter."""
    if _is_optional(hint):
        hint = next(a for a in get_args(hint) if a is not type(None))
    flag = "--" + parameter.name.replace("_", "-")
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return click.Option([flag, parameter.name], type=_Model(hint), default="{}", show_default=True, help=text)
    if get_origin(hint) is list:
        return click.Option([flag, parameter.name], type=_WordList(), default="", help=text + " (any number)")
    kind = click.Path(path_type=Path) if hint is Path else hint
    if parameter.default is inspect.Parameter.empty:  # a default of None, even spelt out, would count as given
        return click.Option([flag, parameter.name], type=kind, required=True, help=text)
    return click.Option([flag, parameter.name], type=kind, default=parameter.default, help=text)


def _is_optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


class _WordList(click.ParamType):
    """Paths, quoted shell-wise into one word by `_StageCommand`."""

    name = "PATHS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[Path]:
        return [Path(word) for word in shlex.split(value)] if isinstance(value, str) else value


def _argument_helps(doc: str) -> dict[str, str]:
    """The entries of a Google-style "Args:" section."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", doc, re.M)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section.group(1) if section else "", re.M)
    return {name: re.sub(r"\s+", " ", text) for name, text in entries}
