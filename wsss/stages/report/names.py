"""What the page calls an artefact. Pure."""

from __future__ import annotations

from wsss.workflow.rows import MeasuredArtefact


def name_of(artefact: MeasuredArtefact) -> str:
    """The artefact in words, e.g. "erasing · psl, cycle 1, prediction (val)"."""
    name = _trained(artefact)
    if artefact.exported:
        return f"{name}, exported masks ({artefact.split})"
    kind = "pseudo masks" if artefact.stage == "pseudo" else artefact.stage
    return f"{name}{_place(artefact)}, {kind} ({artefact.split})"


def short_name(artefact: MeasuredArtefact) -> str:
    """The artefact where its kind is clear, e.g. "erasing · psl, cycle 1"."""
    return _trained(artefact) + (", exported masks" if artefact.exported else _place(artefact))


def _trained(artefact: MeasuredArtefact) -> str:
    """The method, with the variant where variants differ: cycle 0's pseudo masks are the same for all."""
    differs = artefact.variant and (artefact.stage == "prediction" or artefact.cycle)
    return artefact.method + (f" · {artefact.variant}" if differs else "")


def _place(artefact: MeasuredArtefact) -> str:
    """Its round or cycle, if it has one."""
    if artefact.round is not None:
        return f", round {artefact.round}"
    return "" if artefact.cycle is None else f", cycle {artefact.cycle}"
