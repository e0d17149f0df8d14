"""Celery and its broker as the product uses them: publishing and the beat, messages that are none, shards by lease."""
