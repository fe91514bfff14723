"""The classes that name the reasons of each package of contracts."""

from __future__ import annotations

import importlib
import pkgutil

from servicekit.errors import DomainError

ERRORS = {
    "options": "servicekit.errors",
    "tenant": "tenant.errors",
    "runs": "runs.errors",
    "artifacts": "artifacts.errors",
    "llm_gateway": "llm_gateway.errors",
}
"""Where they are, by package: in a module, or in a package of modules."""


def classes_of(package: str) -> list[type[DomainError]]:
    """Return the errors that the error modules of a package define, in their order."""
    first = importlib.import_module(ERRORS[package])
    inner = pkgutil.iter_modules(vars(first).get("__path__", ()), f"{first.__name__}.")
    return [
        kind
        for module in (first, *(importlib.import_module(one.name) for one in inner))
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, DomainError)
        and kind.__module__ == module.__name__
    ]
