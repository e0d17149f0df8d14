"""Users' progress over HTTP."""
