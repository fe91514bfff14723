"""Pipelines in YAML: the fields of PipelineSpec, and the key `pipeline`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from nagaya.runs.v1 import pipeline_pb2
from nagaya_client.errors import Fault, PipelineFileInvalid
from nagaya_client.yaml_message import MessageReader
from nagaya_client.yaml_source import YamlSource, did_you_mean, line_of

if TYPE_CHECKING:
    from pathlib import Path

    from nagaya_client.errors import ApiError, Violation

_SPEC = "spec."
_INPUT = "input"
_NAME = "pipeline"


@dataclass(frozen=True, slots=True)
class PipelineFile:
    """A pipeline as its file says it; whether its steps make sense is the server's to judge."""

    path: Path
    pipeline: str
    """The name; empty when the file gives none."""
    spec: pipeline_pb2.PipelineSpec
    source: YamlSource

    def located(self, error: ApiError) -> PipelineFileInvalid | None:
        """Return a refusal of the server's with file and line; None when it is not about those."""
        faults = tuple(map(self._fault, error.violations))
        if not faults and error.reason.endswith(("_PLAN_TOO_LARGE", "_PROMPT_UNUSABLE")):
            path = self._path_of_step(error.metadata.get("step", ""))
            faults = (Fault(line_of(self.source.find(path)), path, error.message),)
        return PipelineFileInvalid(self.path, faults) if faults else None

    def _fault(self, violation: Violation) -> Fault:
        where = violation.field.removeprefix(_SPEC)
        node = self.source.find(where)
        description = violation.description
        hint = "" if "did you mean" in description else self._hint(node)
        return Fault(line_of(node), where, description, hint)

    def _path_of_step(self, name: str) -> str:
        steps = (step.step for step in self.spec.steps)
        return next((f"steps[{i}]" for i, step in enumerate(steps) if step == name), "steps")

    def _hint(self, node: yaml.Node) -> str:
        known = [step.step for step in self.spec.steps] + [_INPUT]
        if not isinstance(node, yaml.ScalarNode) or node.value in known:
            return ""
        return did_you_mean(node.value, known)


def read_pipeline(path: Path) -> PipelineFile:
    """Read a pipeline. Raises OSError, and PipelineFileInvalid with every fault that it has."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        fault = Fault(line, "", "these bytes are no UTF-8", "save the file as UTF-8")
        raise PipelineFileInvalid(path, (fault,)) from None
    source = YamlSource(path, text)
    reader = MessageReader(source)
    spec = pipeline_pb2.PipelineSpec()
    reader.fill(source.root, spec, "", extra=(_NAME,))
    if reader.faults:
        faults = sorted(reader.faults, key=lambda fault: fault.line)
        raise PipelineFileInvalid(path, tuple(faults))
    return PipelineFile(path, source.text_of(_NAME), spec, source)
