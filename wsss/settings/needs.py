"""Which extras of the package a configuration needs (no torch)."""

from __future__ import annotations

from collections.abc import Iterator

from wsss.settings.config import for_method
from wsss.settings.kinds import PROPOSALS, saliency_kinds
from wsss.settings.sections import Config


def needs(config: Config) -> Iterator[tuple[str, str]]:
    """Each extra that a run needs, and the key of the configuration that asks for it; for `wsss.runtime.extras.absent`.

    Args:
        config: A checked configuration.

    Yields:
        (extra, reason), no extra twice.
    """
    resolved = {method: for_method(config, method)[1] for method in config.methods}
    found: dict[str, str] = {}
    for own in resolved.values():
        if extra := saliency_kinds()[own.saliency.kind].extra:
            found[extra] = f"saliency.kind {own.saliency.kind!r}"
    for method in config.instances.methods:
        instances = resolved[method].instances
        if instances.route == "proposals" and (extra := PROPOSALS[instances.proposals.kind].extra):
            found[extra] = f"instances.proposals.kind {instances.proposals.kind!r}"
    yield from found.items()
