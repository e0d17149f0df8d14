"""The Celery application, its queues and its wiring."""
