"""What is wrong with a bundle."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """The kinds of faults."""

    FORMAT = "format"
    """It is no bundle, or a file in it does not have the form that it must have."""
    VERSION = "version"
    """It is of a version of the format that this build does not read."""
    SIGNATURE = "signature"
    """The manifest is not signed by a key that is trusted."""
    NAME = "name"
    """A file has a name that a bundle does not have: a path out of it, for example."""
    LINK = "link"
    """What should be a file is a link, a directory or a device."""
    MISSING = "missing"
    """A file is not there, or ends too early."""
    EXTRA = "extra"
    """A file is there that the manifest does not name, or one is there twice."""
    SIZE = "size"
    """A file has another size than the manifest says."""
    DIGEST = "digest"
    """A file has another sha256 than the manifest says."""
    LIMIT = "limit"
    """It holds more than a bundle may hold."""
    AUDIT = "audit"
    """The audit log is not the chain that the manifest names."""


class BundleInvalid(Exception):
    """A bundle cannot be used; nothing of it was."""

    def __init__(self, fault: Fault, entry: str, problem: str) -> None:
        super().__init__(f"{entry}: {problem}" if entry else problem)
        self.fault = fault
        self.entry = entry
        """The name of the file in the bundle; empty for the bundle as a whole."""
        self.problem = problem
