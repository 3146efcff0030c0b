"""What the window calls the files and folders that a setting may name."""

from napari_gempick.model.declaration import Paths
from napari_gempick.model.values import AUTO

CTF = Paths(
    "none: no CTF",
    "STAR file with the defocus of each micrograph",
    "Folder of CTFFIND's texts",
    "STAR files and CTFFIND's texts (*.star *.txt);;All files (*)",
)
EXCLUDE = Paths(
    "nothing is left out",
    "Mask for every micrograph",
    "Folder with a mask for each micrograph",
    "Images (*.mrc *.mrc.gz *.tif *.tiff);;All files (*)",
    AUTO,
    "Ice, dirt, carbon and padded borders, found automatically",
)

EDITED = Paths("only those of the results", "A mask", "Folder of edited masks", "Masks (*.mrc.gz)")
