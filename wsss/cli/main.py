"""The command line: one subcommand a stage, and the commands people use by hand. No logic."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from wsss import __version__
from wsss.cli.stage_commands import reported, stage_command, stage_summary
from wsss.workflow.stages import STAGES

# torch's threads sleep instead of spinning at barriers: on a busy machine a training is three times faster.
# torch reads this when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

FILE = click.Path(path_type=Path)
COMPUTE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)


class Commands(click.Group):
    """People's commands first, then the stages, each imported only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the help page."""
        return [*sorted(self.commands), *STAGES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by name; stages are made from their functions."""
        return stage_command(cmd_name) if cmd_name in STAGES else super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Two lists, without importing any stage."""
        with formatter.section("Commands for people"):
            formatter.write_dl([(n, c.get_short_help_str(90)) for n, c in sorted(self.commands.items())])
        with formatter.section("Stages (what the workflow's rules call)"):
            formatter.write_dl([(n, stage_summary(n)) for n in STAGES])


@click.command(cls=Commands)
@click.version_option(__version__)
def main() -> None:
    """Weakly-supervised semantic segmentation: from image-level labels to pixel masks and a trained segmenter."""


@main.command("config")
@click.argument("overlays", nargs=-1, type=FILE)
@click.option("--check", is_flag=True, help="Only check; print nothing but faults.")
def config_command(overlays: tuple[Path, ...], check: bool) -> None:
    """Print every setting (with OVERLAYS laid over the defaults), or check them."""
    from wsss.settings.config import load
    from wsss.settings.config_text import dump_yaml

    with reported():
        text = dump_yaml(load(*overlays))
        click.echo("ok" if check else text, nl=check)


@main.command("plan")
@click.argument("overlays", nargs=-1, type=FILE)
@click.option("--probe/--no-probe", default=True, help="Measure a few steps of each GPU stage for the time estimate.")
def plan_command(overlays: tuple[Path, ...], probe: bool) -> None:
    """Jobs, time and disk of a run before it starts."""
    from wsss.cli.plan import plan

    with reported():
        click.echo(plan(list(overlays), probe=probe))


@main.command("info")
@click.argument("file", type=FILE)
def info_command(file: Path) -> None:
    """What a store file (.h5) holds; checks every checksum."""
    from wsss.cli.inspection import describe

    with reported():
        click.echo(describe(file))


@main.command("verify")
@click.argument("run", type=FILE)
@click.argument("overlays", nargs=-1, type=FILE)
@click.option("--images/--no-images", default=True, help="Read every image again and compare it with the index.")
def verify_command(run: Path, overlays: tuple[Path, ...], images: bool) -> None:
    """Check a RUN's files against their provenance records.

    RUN is a folder or a name under results/. OVERLAYS are its configuration files as they are now. Without any,
    settings
    are compared with those that metrics.csv was made with. Every fault is a line with the command that repairs it. The
    exit code is 1 if there is one.
    """
    from wsss.provenance.verify import verify

    with reported():
        verdict = verify(run, list(overlays), images=images)
        click.echo(verdict)
        if verdict.faults:
            sys.exit(1)


@main.command("unpack")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Folder for the files.")
@click.option("--format", "kind", type=click.Choice(["png", "npy"]), default="png", show_default=True)
def unpack_command(file: Path, output: Path, kind: str) -> None:
    """Write a store file's maps as PNG images or npy arrays."""
    from wsss.cli.inspection import unpack

    with reported():
        click.echo(f"{unpack(file, output=output, kind=kind)} files in {output}")


@main.command("predict")
@click.argument("model", type=FILE)
@click.argument("images", nargs=-1, required=True, type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Folder for masks and overlays.")
@click.option("--overlay/--no-overlay", default=True, help="Also write the photograph under its mask.")
@click.option(
    "--scale",
    "scales",
    multiple=True,
    type=click.FloatRange(0.1, 10),
    help="Image scale; repeat to average.  [as the model's run predicted]",
)
@COMPUTE
def predict_command(
    model: Path, images: tuple[Path, ...], output: Path, overlay: bool, scales: tuple[float, ...], device: Any
) -> None:
    """Segment new photographs with a trained MODEL (segmenter.safetensors); IMAGES may be folders."""
    from wsss.cli.predict import predict_images
    from wsss.settings.sections import ComputeSection

    with reported():
        done = predict_images(
            model=model,
            images=list(images),
            output=output,
            overlay=overlay,
            scales=list(scales),
            compute=ComputeSection(device=device),
        )
        click.echo(f"{done} in {output}")


@main.command("export")
@click.argument("model", type=FILE)
@click.option("--onnx", type=FILE, required=True, help="File to write.")
def export_command(model: Path, onnx: Path) -> None:
    """Export a trained MODEL (segmenter.safetensors) to ONNX."""
    from wsss.cli.export_onnx import export_onnx

    with reported():
        export_onnx(model=model, output=onnx)
        click.echo(f"wrote {onnx}")


@main.command("evaluate")
@click.argument("predictions", type=FILE)
@click.argument("truth", type=FILE)
@click.option("--classes", type=FILE, default=None, help="classes.csv or a text file of names, background first.")
@click.option("-o", "--output", type=FILE, default=None, help="Also write the table as CSV.")
def evaluate_command(predictions: Path, truth: Path, classes: Path | None, output: Path | None) -> None:
    """Compare two folders of PNG masks: IoU, precision, recall per class."""
    from wsss.cli.compare_folders import compare_folders

    with reported():
        click.echo(compare_folders(predictions=predictions, truth=truth, classes=classes, output=output))


@main.command("convert-labels")
@click.argument("labels", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="CSV to write.")
def convert_labels_command(labels: Path, output: Path) -> None:
    """Turn the field's pickled cls_labels.npy into a CSV of labels."""
    from wsss.cli.convert_labels import convert_labels

    with reported():
        convert_labels(labels=labels, output=output)
        click.echo(f"wrote {output}")


@main.command("download")
@click.argument("what", type=click.Choice(["voc"]))
@click.option("-o", "--output", type=FILE, default=Path("data"), show_default=True)
def download_command(what: str, output: Path) -> None:
    """Fetch a data set from its official archive: checked, resumable."""
    from wsss.cli.download import download_voc

    with reported():
        download_voc(output=output)
        click.echo(f"VOC 2012 in {output}")
