"""Particles cut out of micrographs into stacks."""
