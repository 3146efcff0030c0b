"""The plugin's layers and pictures."""
