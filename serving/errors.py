"""What can go wrong, in the domain's words. Status codes are the protocols' matter."""

ENDING = "the server is ending"  # why nothing is ready any more, and calls go elsewhere


class TriptychError(Exception):
    """Its text names the input or the model, the reason, and what to do next."""


class InvalidInput(TriptychError):
    """What the caller sent cannot be classified."""


class ModelNotFound(TriptychError):
    """There is no such model, or no such version of it."""


class LabelNotFound(TriptychError):
    """The model has no version label of that name."""


class ModelUnavailable(TriptychError):
    """The model is known, but no version of it can answer now."""


class NotExplainable(TriptychError):
    """The version has nothing that its answers could be explained by."""


class QueueFull(TriptychError):
    """More is waiting than the queue may hold."""


class QueueTimeout(TriptychError):
    """It waited in the queue for as long as it may."""


class BadVersion(TriptychError):
    """A version on disk that must not be served: half-copied, corrupt, or not what was tested."""


class RepositoryError(TriptychError):
    """The model repository cannot be read, so nothing is known about what it holds."""


class InternalError(TriptychError):
    """A mistake of ours. Its text carries a number that the server's log has too."""
