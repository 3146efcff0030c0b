"""The dock in napari's window, its keys, and the view."""
