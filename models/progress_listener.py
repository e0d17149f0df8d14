"""What is told how far a long piece of work is."""


class ProgressListener:
    """Is told, and does nothing about it; a bar on a terminal does."""

    def start(self, total: int) -> None:
        """There is so much to do."""

    def advance(self, done: int) -> None:
        """So much more is done."""


SILENT = ProgressListener()
