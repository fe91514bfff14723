"""The activities of a run's workflow: everything that does I/O."""
