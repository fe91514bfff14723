"""YAML nodes with their lines, for error messages."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, cast

import yaml

from jsonvalues import NotJson, parse_strict
from nagaya_client.errors import Fault, PipelineFileInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Node = yaml.Node

_TOKEN = re.compile(r"""([A-Za-z_]\w*)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]""")
_TAG = "tag:yaml.org,2002:"
_TIMESTAMP, _INT, _FLOAT, _BOOL = f"{_TAG}timestamp", f"{_TAG}int", f"{_TAG}float", f"{_TAG}bool"
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_JSON_FRACTION = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)$")
_ONE_NUMBER = re.compile(
    r"[-+]?(0x[0-9a-fA-F]+|((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?)"
)
_OCTAL = re.compile(r"0o[0-7]+")
_YES_OR_NO = {"yes": "true", "on": "true", "no": "false", "off": "false"}

NODES_LIMIT = 100_000
"""The most values that a file may stand for, those that aliases repeat counted each time."""


class _Loader(yaml.SafeLoader):
    """Numbers are those of JSON, to the letter; what looks like a date is a text."""


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = str(node.value)
    try:
        if _JSON_NUMBER.fullmatch(text):
            return cast("float", parse_strict(text))
        if node.tag == _FLOAT:
            return loader.construct_yaml_float(node)
        return loader.construct_yaml_int(node)
    except (NotJson, ValueError) as error:
        raise yaml.YAMLError(str(error)) from None


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# Its stub has no types.
_Loader.add_implicit_resolver(_FLOAT, _JSON_FRACTION, list("-0123456789"))  # pyright: ignore[reportUnknownMemberType]
_Loader.add_constructor(_INT, _number)
_Loader.add_constructor(_FLOAT, _number)


class YamlSource:
    """A YAML file as nodes. Raises PipelineFileInvalid when it cannot be read as YAML."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._loader = _Loader(text)
        try:
            root = self._loader.get_single_node()
            many = root is not None and _size(root, {}) > NODES_LIMIT
        except RecursionError:
            raise PipelineFileInvalid(path, (Fault(1, "", "it is nested too deeply"),)) from None
        except yaml.MarkedYAMLError as error:
            raise PipelineFileInvalid(path, (_syntax_fault(error),)) from None
        except yaml.YAMLError as error:
            raise PipelineFileInvalid(path, (Fault(1, "", str(error)),)) from None
        if not isinstance(root, yaml.MappingNode):
            fault = Fault(1, "", "a mapping with `pipeline` and `steps` is expected here")
            raise PipelineFileInvalid(path, (fault,))
        if many:
            fault = Fault(1, "", f"its aliases make more than {NODES_LIMIT:,} values of it")
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


def ambiguity(node: Node) -> tuple[str, str] | None:
    """Tell, with a hint, of a value that the versions of YAML read in different ways."""
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return None
    text = str(node.value)
    meant = _YES_OR_NO.get(text.lower())
    if node.tag == _BOOL and meant is not None:
        fault = f"`{text}` is {meant} to some readers of YAML and a text to others"
        return fault, f'write {meant}, or "{text}" in quotes'
    number = node.tag in (_INT, _FLOAT) and not text.lower().endswith((".inf", ".nan"))
    if (number and not _ONE_NUMBER.fullmatch(text)) or _OCTAL.fullmatch(text):
        fault = f"`{text}` is not the same value to all readers of YAML"
        return fault, "write a number as JSON does, or put a text in quotes"
    return None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint if a known word is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean `{near[0]}`?" if near else ""


def snake_case(name: str) -> str:
    """Return a field's name as contracts write it: `outputSchema` is `output_schema`."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def _size(node: Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for."""
    if id(node) not in known:
        known[id(node)] = 1  # it may contain itself
        inner: Iterable[Node] = ()
        if isinstance(node, yaml.SequenceNode):
            inner = node.value
        elif isinstance(node, yaml.MappingNode):
            inner = (value for _, value in node.value)
        known[id(node)] += sum(_size(each, known) for each in inner)
    return known[id(node)]


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
    return Fault(1 if mark is None else mark.line + 1, "", f"invalid YAML: {problem}", hint)
