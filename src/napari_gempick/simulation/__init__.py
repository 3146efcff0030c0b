"""Simulated micrographs with known particles."""
