"""YAML with the line of every node, so that whoever finds a fault can say where it is."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

import yaml

from nagaya_client.errors import Fault, PipelineFileInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Node = yaml.Node

_TOKEN = re.compile(r"""([A-Za-z_]\w*)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]""")
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """Without timestamps: what looks like a date is a text, as in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class YamlSource:
    """A YAML file as nodes. Raises PipelineFileInvalid when it cannot be read as YAML."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._loader = _Loader(text)
        try:
            root = self._loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            raise PipelineFileInvalid(path, (_syntax_fault(error),)) from None
        except yaml.YAMLError as error:
            raise PipelineFileInvalid(path, (Fault(1, "", str(error)),)) from None
        if not isinstance(root, yaml.MappingNode):
            fault = Fault(1, "", "a mapping with `pipeline` and `steps` is wanted here")
            raise PipelineFileInvalid(path, (fault,))
        self.root = root

    def value(self, node: Node) -> object:
        """Return what a node says. Raises yaml.YAMLError for what is not in JSON."""
        # Its stub leaves the node without a type.
        return self._loader.construct_object(node, deep=True)  # pyright: ignore[reportUnknownMemberType]

    def text_of(self, key: str) -> str:
        """Return the text at a key of the root; empty when there is none."""
        node = _child(self.root, key)
        return node.value if isinstance(node, yaml.ScalarNode) else ""

    def find(self, path: str) -> Node:
        """Return the node at a path such as `steps[3].needs[0]`, or the nearest one above it."""
        node: Node = self.root
        for name, index, key in _TOKEN.findall(path):
            below = _element(node, int(index)) if index else _child(node, name or key)
            if below is None:
                break
            node = below
        return node


def line_of(node: Node) -> int:
    """Return the line that a node begins on, counted from 1."""
    mark = node.start_mark
    return 1 if mark is None else mark.line + 1


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint if a known word is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean `{near[0]}`?" if near else ""


def snake_case(name: str) -> str:
    """Return a field's name as contracts write it: `outputSchema` is `output_schema`."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def _child(node: Node, name: str) -> Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    pairs = [(key.value, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
    exact = (value for key, value in pairs if key == name)
    loose = (value for key, value in pairs if snake_case(key) == name)
    return next(exact, None) or next(loose, None)


def _element(node: Node, index: int) -> Node | None:
    if not isinstance(node, yaml.SequenceNode) or index >= len(node.value):
        return None
    return node.value[index]


def _syntax_fault(error: yaml.MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    problem = " ".join(filter(None, (error.context, error.problem)))
    hint = "YAML is indented with spaces, never with tabs" if "'\\t'" in problem else ""
    return Fault(1 if mark is None else mark.line + 1, "", f"no YAML: {problem}", hint)
