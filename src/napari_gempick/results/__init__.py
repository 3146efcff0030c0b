"""The folder of a run: run.json, candidates, coordinates, thresholds."""
