"""Keys that a YAML file has twice: YAML allows them and silently takes the last (no torch)."""

from __future__ import annotations

import yaml

from wsss.runtime.text import short


def check_keys(text: str) -> None:
    """Refuse a key that a mapping has twice: only the last would count. What `<<` brings may be replaced.

    Raises:
        ValueError: If there is one.
        yaml.YAMLError: If the text is no YAML.
    """
    _check_node(yaml.compose(text, Loader=yaml.SafeLoader), set())


def _check_node(node: yaml.Node | None, seen: set[int]) -> None:
    """Check a node and those in it. `seen`: ids of the nodes that were checked, as aliases bring them again."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return
    seen.add(id(node))
    lines: dict[tuple[str, str], int] = {}
    for child in node.value:
        key, value = child if isinstance(node, yaml.MappingNode) else (None, child)
        if isinstance(key, yaml.ScalarNode):
            line, before = key.start_mark.line + 1, lines.get((key.tag, key.value))
            if before is not None:
                advice = "write one `<<: [*a, *b]`" if key.value == "<<" else "keep one of the two"
                raise ValueError(
                    f"line {line}: the key {short(key.value)} is there already, on line {before}; {advice}"
                )
            lines[key.tag, key.value] = line
        _check_node(value, seen)
