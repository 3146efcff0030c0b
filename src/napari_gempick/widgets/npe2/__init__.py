"""What the plugin adds to napari: readers, writers, functions, sample data."""
