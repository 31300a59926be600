"""What a YAML file may not hold although YAML allows it (no torch)."""

from __future__ import annotations

import math

import yaml

from wsss.files.limits import MOST_DEPTH, MOST_VALUES
from wsss.runtime.text import short


def check_aliases(text: str) -> None:
    """Refuse a text that grows without measure when its aliases are written out, as YAML's merge keys do while loading.

    Raises:
        ValueError: If it has more than MOST_VALUES values then, or an alias of what it stands in.
    """
    sizes: dict[str, float] = {}
    open_nodes: list[tuple[str | None, float]] = [(None, 0)]  # anchor, values so far
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            done: tuple[str | None, float] | None = (
                None,
                sizes.get(str(event.anchor), 0),
            )  # one of nothing is refused where nodes are made
        elif isinstance(event, yaml.ScalarEvent):
            done = (event.anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            if event.anchor is not None:
                sizes[event.anchor] = math.inf  # until it ends
            done = None
            if len(open_nodes) > MOST_DEPTH + 1:
                raise ValueError(f"lists and mappings more than {MOST_DEPTH} deep")
        else:
            done = open_nodes.pop() if isinstance(event, yaml.CollectionEndEvent) else None
        if done is None:
            continue
        anchor, size = done
        if size > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES:,} values when its aliases are written out")
        if anchor is not None:
            sizes[anchor] = size
        outer, values = open_nodes[-1]
        open_nodes[-1] = (outer, values + size)


def check_keys(text: str) -> None:
    """Refuse a key that a mapping has twice: YAML takes the last in silence. What `<<` brings may be given again.

    Raises:
        ValueError: If there is one.
        yaml.YAMLError: If the text is no YAML.
    """
    _check_node(yaml.compose(text, Loader=yaml.SafeLoader), set())


def _check_node(node: yaml.Node | None, seen: set[int]) -> None:
    """`seen`: ids of the nodes that were looked at, which aliases bring again."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return
    seen.add(id(node))
    lines: dict[tuple[str, str], int] = {}
    for child in node.value:
        key, value = child if isinstance(node, yaml.MappingNode) else (None, child)
        if isinstance(key, yaml.ScalarNode):
            line, before = key.start_mark.line + 1, lines.get((key.tag, key.value))
            if before is not None:
                mend = "write one `<<: [*a, *b]`" if key.value == "<<" else "keep one of the two"
                raise ValueError(f"line {line}: the key {short(key.value)} is there already, on line {before}; {mend}")
            lines[key.tag, key.value] = line
        _check_node(value, seen)
