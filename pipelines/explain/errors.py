"""What cannot be looked into, or not so."""


class ExplainError(Exception):
    """Its text names the model, layer, class or method, the reason, and what to do next."""
