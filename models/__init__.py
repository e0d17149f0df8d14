"""The domain and its two stores: no Celery, no HTTP."""
