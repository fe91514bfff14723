"""Replies of models: their content becomes the output of a step, one file."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from jsonvalues import NotANumber, plain_number
from nagaya_functions import FilePointer
from runs.domain.failures import StepImpossible
from runs.domain.outputs import BYTES_AT_ONCE, FileDraft, output_name, parse_json, reply_name
from runs.domain.replies import REPLY_LIMIT, read_reply
from runs.worker.activities.output_values import read_committed_values, read_values, with_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runs.domain.activities import StepRef
    from runs.domain.generation import GenerationResult
    from runs.domain.pipelines import StepSpec
    from runs.domain.runs import OutputFile
    from runs.peers.artifacts import Artifacts
    from runs.peers.llm_gateway import LlmGateway

_ON_LOOP_BYTES = 256 << 10  # read here; more in a thread
_LONG_AT_ONCE = 2  # in this process, so that they do not use up its memory


class ReplyCommitter:
    """Commits the content of replies."""

    def __init__(self, gateway: LlmGateway, artifacts: Artifacts) -> None:
        self._gateway = gateway
        self._artifacts = artifacts
        self._long = asyncio.Semaphore(_LONG_AT_ONCE)

    async def commit(
        self, ref: StepRef, call: int, spec: StepSpec, result: GenerationResult
    ) -> OutputFile:
        """Commit the content of the reply to a step's call as the step's output, with the metrics
        and values in it.

        Raises StepFailed, and what the services refuse.
        """
        if result.reply:
            return await self._put(ref, spec, result, result.reply)
        if result.file is not None:
            metrics = await self._metrics_in_file(ref, result.file, spec.metrics)
            draft = _draft(ref, result, metrics)
            copied = await self._artifacts.copy(ref.tenant_id, result.file, draft)
            return await read_committed_values(self._artifacts, ref, spec, copied)
        async with self._long:
            body = await self._gateway.get_reply(ref, call, REPLY_LIMIT)
            return await self._put(ref, spec, result, body)

    async def commit_call(self, ref: StepRef, call: int, result: GenerationResult) -> OutputFile:
        """Commit the content of a node's call as a file beside the step's output.

        Raises StepFailed, and what the services refuse.
        """
        draft = replace(_draft(ref, result, {}), name=reply_name(ref, call))
        if result.file is not None and not result.reply:
            return await self._artifacts.copy(ref.tenant_id, result.file, draft)
        if result.reply:
            return await self._put_call(draft, ref, result, result.reply)
        async with self._long:
            body = await self._gateway.get_reply(ref, call, REPLY_LIMIT)
            return await self._put_call(draft, ref, result, body)

    async def _put_call(
        self, draft: FileDraft, ref: StepRef, result: GenerationResult, body: bytes
    ) -> OutputFile:
        data, _ = await asyncio.to_thread(read_reply, body, result.digest, {})
        commit = self._artifacts.put if len(data) <= BYTES_AT_ONCE else self._artifacts.upload
        return await commit(ref.tenant_id, draft, data)

    async def _put(
        self, ref: StepRef, spec: StepSpec, result: GenerationResult, body: bytes
    ) -> OutputFile:
        if len(body) <= _ON_LOOP_BYTES:
            data, metrics = read_reply(body, result.digest, spec.metrics)
        else:
            data, metrics = await asyncio.to_thread(read_reply, body, result.digest, spec.metrics)
        values = await read_values(data, spec.values)
        draft = _draft(ref, result, metrics)
        commit = self._artifacts.put if len(data) <= BYTES_AT_ONCE else self._artifacts.upload
        file = await commit(ref.tenant_id, draft, data)
        return await with_values(self._artifacts, ref, spec, file, (data, values))

    async def _metrics_in_file(
        self, ref: StepRef, content: FilePointer, pointers: Mapping[str, str]
    ) -> dict[str, float]:
        if not pointers:
            return {}
        values = [
            FilePointer(content.path, content.digest, content.json_pointer + pointer)
            for pointer in pointers.values()
        ]
        metrics: dict[str, float] = {}
        found = await self._artifacts.read(ref.tenant_id, values)
        for name, data in zip(pointers, found, strict=True):
            try:
                metrics[name] = plain_number(parse_json(data))
            except NotANumber:
                raise StepImpossible(
                    "METRIC_NOT_A_NUMBER", f"the output holds no number for {name}"
                ) from None
        return metrics


def _draft(ref: StepRef, result: GenerationResult, metrics: Mapping[str, float]) -> FileDraft:
    tokens = result.usage.tokens
    return FileDraft(
        run_id=ref.run_id,
        step=ref.step,
        name=output_name(ref),
        item=ref.item,
        visit=ref.visit,
        metrics={
            "input_tokens": tokens.input_tokens,
            "output_tokens": tokens.output_tokens,
            **metrics,
        },
    )
