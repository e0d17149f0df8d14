"""The installation as one: the settings its processes share, its living processes, and changes of those settings."""
