"""The parts: how each is started, probed and stopped. One module a part."""
