"""What Celery tasks do."""
