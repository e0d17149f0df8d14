"""Commands that call a running product, and how they find it and speak to it."""
