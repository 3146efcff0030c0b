"""From settings and files to what the engine searches: views, banks, treated micrographs."""
