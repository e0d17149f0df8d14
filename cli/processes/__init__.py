"""Commands that are processes of the product."""
