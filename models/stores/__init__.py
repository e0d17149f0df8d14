"""What reads or writes both stores, each of which does not know the other."""
