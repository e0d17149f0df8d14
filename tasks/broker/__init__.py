"""Celery and its broker as the product uses them: the streams of events, publishing, and messages that are none."""
