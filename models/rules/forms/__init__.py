"""What the JSON forms of operators and of challenges files are made of: types of values, with checks of our own."""
