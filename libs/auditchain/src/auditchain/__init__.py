"""The hash chain of an audit log, and anchors of it, computed without any database."""
