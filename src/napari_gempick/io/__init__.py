"""Files to model values and back: micrographs, stacks, maps, coordinates."""
