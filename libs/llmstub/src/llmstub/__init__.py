"""A stub of Claude, OpenAI and Gemini that speaks their wire formats."""

from __future__ import annotations

from llmstub.call_log import Call
from llmstub.settings import Latency, Settings
from llmstub.stub import LlmStub

__all__ = ["Call", "Latency", "LlmStub", "Settings"]
