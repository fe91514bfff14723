"""Which members a request may have. Source: the parameter types of the providers' SDKs.

anthropic 2.12.0 (version 2026-10-21), openai 3.54.0, google-genai 3.4.0.
"""

from __future__ import annotations


def names(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


CLAUDE = names(
    """
    cache_control container diagnostics inference_geo max_tokens messages metadata model
    output_config service_tier speed stop_sequences stream system thinking tool_choice tools
    user_profile_id workspace_id
    """
)
CLAUDE_SAMPLING = ("temperature", "top_k", "top_p")
"""Taken before version 2026-10-21."""
RESPONSES = names(
    """
    access_programs background background_options context_management conversation image include
    input instructions max_output_tokens max_tool_calls metadata model moderation
    parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options
    prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options
    temperature text tool_choice tools top_logprobs top_p truncation user
    """
)
CHAT = names(
    """
    audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens
    max_tokens messages metadata modalities model moderation n parallel_tool_calls prediction
    presence_penalty prompt_cache_key prompt_cache_options prompt_cache_retention
    reasoning_effort response_format safety_identifier seed service_tier stop store stream
    stream_options temperature tool_choice tools top_logprobs top_p user verbosity
    web_search_options
    """
)
GEMINI = names(
    """
    contents systemInstruction generationConfig tools toolConfig safetySettings cachedContent
    serviceTier labels model store
    """
)
GEMINI_GENERATION = names(
    """
    audioTimestamp audioTranscriptionConfig candidateCount enableAffectiveDialog
    enableEnhancedCivicAnswers frequencyPenalty logprobs maxOutputTokens mediaResolution
    modelSelectionConfig presencePenalty responseFormat responseJsonSchema responseLogprobs
    responseMimeType responseModalities responseSchema routingConfig seed speechConfig
    stopSequences temperature thinkingConfig topK topP translationConfig
    """
)


def proto_name(name: str) -> str:
    """Return a member's name as Gemini spells it; it takes snake_case too."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
