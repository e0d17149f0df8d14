"""Commands about who may use the API, and how much."""
