"""The expression language: grammar, parser, errors."""
