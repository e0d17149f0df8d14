"""What is asked of a Redis that answers: whether it fits, takes writes, has room, and holds only what is ours."""
