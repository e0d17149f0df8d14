"""What every process is told: settings, shards, durations, and the challenges file of the package."""
