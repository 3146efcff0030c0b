"""`python -m napari_gempick` is the command `gempick`."""

from napari_gempick.cli import main

if __name__ == "__main__":
    main()
