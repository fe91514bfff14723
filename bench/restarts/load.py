"""The load: unary calls at a steady rate, and runs that are watched to their end."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc

from bench.restarts.questions import LAST, NOTE
from nagaya.runs.v1 import run_pb2
from nagaya_client.errors import ApiError, BytesCorrupt
from nagaya_client.transfer import UploadTarget

if TYPE_CHECKING:
    from pathlib import Path

    from bench.restarts.bare_client import BareClient
    from bench.restarts.questions import Question, Questions
    from nagaya_client.client import Client

_CALLERS = 16
"""They call at the same moments, so that many calls are under way when a process is killed."""
_RUNS_AT_ONCE = 3
_BARE_SHARE = 0.25
_SECONDS = 30.0
_RUN_SECONDS = 180.0


class Load:
    """Calls until it is told to stop, and keeps what failed.

    A quarter of the calls is made by the bare client first; what fails there is made once more, the
    same request, by the client that repeats by itself. So `failed` holds what a user would see, and
    `bare_failed` what somebody would see whose client repeats nothing.
    """

    def __init__(
        self, client: Client, bare: BareClient, questions: Questions, folder: Path, rate: float
    ) -> None:
        self.calls: Counter[str] = Counter()
        """Unary calls that were answered to the client, by stub and method."""
        self.failed: list[str] = []
        self.bare_calls = 0
        self.bare_failed: Counter[str] = Counter()
        """By code, with the beginning of the message."""
        self.runs: set[str] = set()
        """The runs that were created."""
        self.wrong_runs: list[str] = []
        """Runs that did not end well, or whose files were not what was promised."""
        self.watch_gaps: list[str] = []
        self.watches_resumed: Counter[str] = Counter()
        """By code of what broke them."""
        self.notes: Counter[int] = Counter()
        """How often each version of the prompt was returned by its creation."""
        self.happened = ""
        """What was done to the processes last."""
        self._client, self._bare, self._questions = client, bare, questions
        self._folder = folder
        self._interval = _CALLERS / rate
        self._stopped = False

    @property
    def answered(self) -> int:
        return self.calls.total()

    async def run(self) -> None:
        """Call until `stop`; return when the runs under way have ended."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(_CALLERS):
                tasks.create_task(self._call_on(random.Random(number)))  # noqa: S311 - no secret
            for number in range(_RUNS_AT_ONCE):
                tasks.create_task(self._run_on(number))

    def stop(self) -> None:
        self._stopped = True

    async def _call_on(self, chance: random.Random) -> None:
        while not self._stopped:
            await asyncio.sleep(self._interval - time.monotonic() % self._interval)
            response = await self._ask(self._questions.any(chance), chance)
            if response is not None and "prompt_version" in response.DESCRIPTOR.fields_by_name:
                version = response.prompt_version
                if version.step == NOTE:
                    self.notes[version.version] += 1

    async def _ask(self, question: Question, chance: random.Random) -> Any:  # noqa: ANN401 - any response
        """Return the response; None when the call failed, also when it was repeated."""
        if chance.random() < _BARE_SHARE and (response := await self._ask_bare(question)):
            return response
        method = getattr(getattr(self._client, question.stub), question.method)
        began = time.monotonic()
        try:
            response = await method(question.request, timeout=_SECONDS)
        except ApiError as error:
            seconds = time.monotonic() - began
            self.failed.append(f"{question.name}: {error} after {seconds:.1f} s, {self.happened}")
            return None
        self.calls[question.name] += 1
        return response

    async def _ask_bare(self, question: Question) -> Any:  # noqa: ANN401 - any response
        method = getattr(getattr(self._bare, question.stub), question.method)
        self.bare_calls += 1
        try:
            return await method(question.request, timeout=_SECONDS, metadata=self._bare.metadata)
        except grpc.aio.AioRpcError as error:
            self.bare_failed[f"{error.code().name} {error.details() or ''!s:.60}"] += 1
            return None

    async def _run_on(self, number: int) -> None:
        chance = random.Random(f"run {number}")  # noqa: S311 - no secret
        brief, result = (self._folder / f"{name}-{number}.json" for name in ("brief", "result"))
        while not self._stopped:
            created = await self._ask(self._questions.create_run(), chance)
            if created is None:
                continue
            run_id: str = created.run.run_id
            self.runs.add(run_id)
            brief.write_text(json.dumps({"topic": run_id}))
            try:
                async with asyncio.timeout(_RUN_SECONDS):
                    await self._do(run_id, brief, result, chance)
            except (ApiError, BytesCorrupt, TimeoutError) as error:
                self.wrong_runs.append(f"{run_id}: {error!r}, {self.happened}")

    async def _do(self, run_id: str, brief: Path, result: Path, chance: random.Random) -> None:
        """Bring a run to its end as a customer does: upload, start, watch, download."""
        tenant_id = self._questions.tenant_id
        await self._client.upload(tenant_id, UploadTarget(run_id, "input"), brief)
        await self._ask(self._questions.start_run(run_id), chance)
        seen, state = await self._watch(run_id)
        found = await self._ask(self._questions.get_run(run_id), chance)
        if found is None:
            return
        if seen != list(range(1, found.run.last_sequence + 1)):
            self.watch_gaps.append(f"{run_id}: {seen} of {found.run.last_sequence}")
        if state != run_pb2.RUN_STATE_COMPLETED:
            self.wrong_runs.append(f"{run_id}: {found.run.state} {found.run.error}")
            return
        listed = await self._ask(self._questions.list_steps(run_id), chance)
        if listed is None:
            return
        path = next(step.output.output_path for step in listed.run_steps if step.step == LAST)
        await self._client.download(tenant_id, path, result)
        self._questions.run_id, self._questions.path = run_id, path

    async def _watch(self, run_id: str) -> tuple[list[int], run_pb2.RunState.ValueType]:
        seen, state = list[int](), run_pb2.RUN_STATE_UNSPECIFIED

        def cut(error: ApiError) -> None:
            self.watches_resumed[error.code.name] += 1

        watch = self._client.watch_run(self._questions.tenant_id, run_id, on_cut=cut)
        async for event in watch:
            seen.append(event.sequence)
            state = event.run.state if event.HasField("run") else state
        return seen, state
