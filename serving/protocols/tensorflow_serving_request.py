"""A PredictRequest, its tensor's bytes left where they came."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tensorflow_serving.apis import predict_pb2

from serving.protocols.kinds import Kinds
from serving.protocols.tensorflow_serving_inference import decode_inputs, require_inputs
from serving.protocols.tensorflow_serving_status import Spec, invalid
from serving.protocols.tensorflow_serving_tensors import Array, Described, described, is_slow
from serving.protocols.wire import LARGE_BYTES, lift
from serving.runtime.endpoint import Endpoint

INPUTS = predict_pb2.PredictRequest.INPUTS_FIELD_NUMBER
TENSOR = predict_pb2.PredictRequest.InputsEntry.DESCRIPTOR.fields_by_name["value"].message_type
TENSOR_CONTENT = (  # the field numbers on the way to it
    INPUTS,
    predict_pb2.PredictRequest.InputsEntry.VALUE_FIELD_NUMBER,
    TENSOR.fields_by_name["tensor_content"].number,
)


class Said(NamedTuple):
    """All but the values of its only tensor."""

    spec: Spec
    wanted: Sequence[str]
    name: str
    tensor: Described


class PredictRequest(NamedTuple):
    """
    content: tensor_content of its only input, of a large message or a known kind, where it came.
    said:    None if it is of no known kind; then there is a message.
    data:    all of it; empty where it is large, and nothing of it is still used.
    """

    content: memoryview | None = None
    said: Said | None = None
    message: Any = None
    data: bytes = b""

    @property
    def is_slow(self) -> bool:
        """Whether reading its inputs takes milliseconds, and so belongs in a thread."""
        return self.said is None and any(map(is_slow, self.message.inputs.values()))


def spec_of(message: Any) -> Spec:
    """Of a ModelSpec."""
    choice = message.WhichOneof("version_choice")
    return Spec(
        message.name,
        message.version.value if choice == "version" else None,
        message.version_label if choice == "version_label" else None,
        message.signature_name,
    )


def spec_in(request: Any) -> Spec:
    """Raises: Refused if it has none."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return spec_of(request.model_spec)


class Reader:
    def __init__(self, most_bytes: int) -> None:
        """Args: most_bytes: that a tensor may have."""
        self._most_bytes = most_bytes
        self._kinds: Kinds[Said] = Kinds(TENSOR_CONTENT)

    def read(self, data: bytes) -> PredictRequest:
        """Raises: DecodeError if it is no PredictRequest."""
        found = self._kinds.find(data)
        if found is not None:
            return PredictRequest(found.tensor, found.said)
        if len(data) < LARGE_BYTES:
            message = predict_pb2.PredictRequest.FromString(data)
            return PredictRequest(message=message, data=data)
        rest, contents = lift(data, TENSOR_CONTENT)
        message = predict_pb2.PredictRequest.FromString(rest)
        # Entries, and not inputs: of two with one name the later counts.
        if len(contents) == len(lift(rest, TENSOR_CONTENT[:1])[1]) == 1:
            return PredictRequest(contents[0], message=message, data=data)
        return PredictRequest(message=predict_pb2.PredictRequest.FromString(data))

    def spec(self, request: PredictRequest) -> Spec:
        """Raises: Refused if it has none."""
        return spec_in(request.message) if request.said is None else request.said.spec

    def wanted(self, request: PredictRequest) -> Sequence[str]:
        """Names of outputs; none stands for all."""
        return request.message.output_filter if request.said is None else request.said.wanted

    def inputs(self, request: PredictRequest, endpoint: Endpoint) -> Mapping[str, Array]:
        """Raises: Refused."""
        said = request.said
        if said is not None:
            require_inputs(endpoint, (said.name,))
            return {said.name: said.tensor.array(request.content or b"")}
        given = request.message.inputs
        inputs = decode_inputs(endpoint, given, self._most_bytes, request.content)
        if len(given) == 1 and not request.is_slow:
            ((name, proto),) = given.items()
            if request.content or proto.tensor_content:
                tensor = described(proto, self._most_bytes)
                spec, wanted = self.spec(request), list(self.wanted(request))
                self._kinds.add(request.data, Said(spec, wanted, name, tensor))
        return inputs
