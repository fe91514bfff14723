"""What runs need that were started with versions 1 to 3 of the workflow: a step at a time.

To be deleted once they have ended, with what calls it: `workflows`, `temporal_worker` and
`composition`, and the histories of these versions.
"""
