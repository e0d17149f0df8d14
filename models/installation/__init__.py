"""The installation: its shared settings, its living processes, and changes."""
