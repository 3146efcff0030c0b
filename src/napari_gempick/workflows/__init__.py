"""What the commands and the Python functions do, from settings and files to results."""
