"""What stops a run as a whole. What is wrong with one input is that input's row."""


class BatchError(Exception):
    """Its text names the model, input or output, the reason, and what to do next."""
