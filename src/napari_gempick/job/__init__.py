"""Whole picking jobs: settings and files in, the engine, files out."""
