"""The napari plugin: the only place that imports napari, Qt, magicgui and superqt."""
