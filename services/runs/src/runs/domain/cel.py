"""The engine of the Common Expression Language, without its distribution's command line.

`import cel` runs the package's `__init__`, which imports typer, rich and prompt_toolkit for a
command that no process of ours has. So the compiled module inside it is loaded alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cel import Context, compile, evaluate
else:
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    _spec = PathFinder.find_spec("cel.cel", PathFinder.find_spec("cel").submodule_search_locations)
    _engine = module_from_spec(_spec)
    _spec.loader.exec_module(_engine)
    Context, compile, evaluate = _engine.Context, _engine.compile, _engine.evaluate

__all__ = ["Context", "compile", "evaluate"]
