"""The worker process, `python -m runs.worker`: the workflow of a run and its activities."""
