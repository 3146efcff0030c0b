"""Threads around the engine: producer, consumers, reduction, progress, cancel."""
