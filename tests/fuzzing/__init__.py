"""Damaged input files: seeds of every reader, ways to damage them, and what a reader may make of them."""
