"""All bad inputs, each written by code when it is needed."""

from __future__ import annotations

from . import artefacts, configurations, outlines, pictures, tables
from .attempt import Case

CASES: list[Case] = [*tables.cases(), *pictures.cases(), *outlines.cases(), *artefacts.cases(), *configurations.cases()]
