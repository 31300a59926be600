"""All bad inputs, each written by code when it is needed."""

from __future__ import annotations

from . import tables
from .attempt import Case

CASES: list[Case] = [*tables.cases()]
