"""What the caller of ``modelhub bench`` can mend."""


class BenchError(Exception):
    """Asked wrongly, or of a server that cannot answer: one line, exit code 2."""
