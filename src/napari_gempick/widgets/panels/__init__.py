"""The five parts of the dock and their dialogs."""
