"""The installation as one: the settings its processes share, who is alive in it, and how those settings change."""
