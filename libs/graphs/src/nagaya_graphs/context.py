"""The context of a node: what it finds in `runtime.context`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, TypeAlias

from nagaya_functions import FilePointer, StepContext

ENTRY_POINT_GROUP = "nagaya.graphs"
"""The group of entry points in which a distribution offers graphs, by the name in pipelines."""

ModelInput: TypeAlias = str | FilePointer | Sequence[str | FilePointer]
"""What a variable of a prompt stands for: a text, a JSON value of a file, or several of these."""


class NodeContext(StepContext, Protocol):
    """What a node knows about its step, and how it reaches files and its model.

    `step` is the node, `visit` counts the supersteps in which it has run, from 1, and `item` the
    nodes of one superstep that a `Send` started, from 1; it is 0 for a node that an edge started.
    `outputs` holds the run's input only: what other nodes have done is in the state.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    """A context is a dataclass, as LangGraph's types want it."""

    async def ask_model(self, **variables: ModelInput) -> FilePointer:
        """Have the node's model answer the node's prompt; return where the reply's content is.

        The pipeline says which prompt, model and schema that is: it lists the node as a step with
        `llm`. A call is paid once, however often the node is run: the first call of the same node,
        item and visit is the same call each time, and so is the second. So what a node asks must
        not change from one attempt to the next.

        Raises StepError: NODE_WITHOUT_MODEL when the pipeline lists no model for the node;
        PROMPT_UNUSABLE for other variables than the prompt's; whatever keeps an llm step from its
        reply.
        """
        ...
