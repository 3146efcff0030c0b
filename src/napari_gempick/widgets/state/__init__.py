"""What the window knows and decides, without Qt or napari."""
