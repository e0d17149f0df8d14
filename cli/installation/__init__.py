"""Commands that change what all processes of an installation share."""
