"""What a request for labels must hold, and when its answer is an error: of gRPC and HTTP alike."""

from collections.abc import Sequence

from serving.errors import InvalidInput, TriptychError
from serving.runtime.ranking import Label

DEFAULT_TOP_K = 5


def require_inputs(inputs: int, most: int) -> None:
    """Raises: InvalidInput if there are none, or too many."""
    if not inputs:
        raise InvalidInput("the request has no inputs: send at least one")
    if inputs > most:
        raise InvalidInput(f"the request has {inputs} inputs, and {allowed(most)}")


def allowed(most: int) -> str:
    """The end of a refusal of more inputs: one alone may be all that a call is for."""
    if most == 1:
        return "one is allowed: send several requests"
    return f"{most} are allowed: send several requests, or raise TRIPTYCH_MAX_INPUTS_PER_REQUEST"


def require_in_range(top_k: int, min_score: float) -> None:
    """Raises: InvalidInput, naming the one that is out of its range."""
    if top_k < 1:
        raise InvalidInput(
            f"top_k is {top_k}: ask for at least 1 label, or leave it out for {DEFAULT_TOP_K}"
        )
    if not 0 <= min_score <= 1:  # nor is NaN
        raise InvalidInput(f"min_score is {min_score:g}: it is from 0 to 1, as scores")


def require_one(results: Sequence[list[Label] | TriptychError]) -> None:
    """Raises: the first error, if nothing but errors is there to answer with."""
    errors = [(i, result) for i, result in enumerate(results) if isinstance(result, TriptychError)]
    if len(errors) < len(results):
        return
    # What is the server's fault may go well at the next try, so it is what the caller is told.
    ours = [(i, error) for i, error in errors if not isinstance(error, InvalidInput)]
    index, error = (ours or errors)[0]
    others = len(errors) - 1
    more = f" ({others} more of {len(results)} inputs failed)" if others else ""
    raise type(error)(f"input {index}: {error}{more}")
