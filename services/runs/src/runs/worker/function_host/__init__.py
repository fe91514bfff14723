"""Functions run in child processes of the worker, apart by tenant.

What a function does to its process (it ends it, blocks it, eats its memory) meets its own step
only. `pool` chooses the process for a call and finds out whose fault a death is; `process` is the
worker's side of one process, `exchange` of one call; `child` is the other side of both, started as
`python -m runs.worker.function_host`; `frames` is what they say to each other.
"""
