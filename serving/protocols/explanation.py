"""What a request for an explanation must hold, and how it is counted: of gRPC and HTTP alike."""

import time

import grpc

from serving.engine import Item, internal_error
from serving.errors import InvalidInput, TriptychError
from serving.explainer import Explained, Explainer
from serving.observability import Metrics
from serving.protocols.status import status_of
from serving.runtime.explanation import DEFAULT_METHOD, METHODS


async def explain(
    explainer: Explainer,
    metrics: Metrics,
    *,
    model: str,
    version: int | None,
    label: str | None,
    item: Item,
    method: str,
    wanted: str | int | None,
) -> Explained:
    """As Explainer.explain; an empty method is the default one. Raises: TriptychError alone."""
    began = time.perf_counter()
    method = method or DEFAULT_METHOD
    status = grpc.StatusCode.CANCELLED  # by the caller, unless another one follows
    try:
        if version is not None and label is not None:
            raise InvalidInput(
                f"the request names version {version} and version label {label!r}: leave one of "
                "them out"
            )
        explained = await explainer.explain(model, version, item, method, wanted, label=label)
        status, model = grpc.StatusCode.OK, explained.model
        return explained
    except Exception as error:
        refusal = error if isinstance(error, TriptychError) else internal_error(error)
        status = status_of(refusal)
        raise refusal from None
    finally:
        known = method if method in METHODS else "unknown"
        metrics.explanation(model, known, status.name, time.perf_counter() - began)
