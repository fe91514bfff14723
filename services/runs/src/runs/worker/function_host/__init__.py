"""Child processes of the worker in which functions run, each for one tenant.

What a function does to its process (it ends it, blocks it, uses up its memory) fails its own step
only. `pool` chooses the process of a call, and finds out which call is to blame when a process
ends. `process` is the worker's side of one process, `call` of one call in it. `child` is the
process's own side, started as `python -m runs.worker.function_host`. `frames` is the protocol
between the two.
"""
