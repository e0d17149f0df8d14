"""Settings, shards, durations, and the challenges file of the package."""
