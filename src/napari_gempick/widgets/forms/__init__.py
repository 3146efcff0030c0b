"""Forms of settings by magicgui, and the small widgets around them."""
