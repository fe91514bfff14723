"""The API process, `python -m runs`: it records, starts, watches and cancels runs."""
