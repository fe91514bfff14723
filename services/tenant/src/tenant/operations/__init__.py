"""Long pieces of work: begun in a transaction, run in the background, taken up after a crash."""
