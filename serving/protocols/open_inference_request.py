"""What a ModelInferRequest asks for, and its tensors' bytes, left where they came."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tritonclient.grpc import service_pb2

from serving.errors import InvalidInput
from serving.protocols.kinds import Kinds
from serving.protocols.open_inference_call import Asked, Wanted, options_of
from serving.protocols.open_inference_tensors import Data, Given, quoted, typed
from serving.protocols.wire import LARGE_BYTES, lift

RAW_INPUT_CONTENTS = (service_pb2.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER,)


class _Said(NamedTuple):
    model: str
    version: str
    asked: Asked


class InferRequest(NamedTuple):
    """contents: raw_input_contents, of a large message, or of a known kind, where it came.
    asked:    None if it is of no known kind; then there is a message.
    data:     all of it; empty where it is large, and nothing of it is still used.
    """

    id: str
    model: str
    version: str
    contents: Sequence[bytes | memoryview]
    size: int
    asked: Asked | None = None
    message: Any = None
    data: bytes = b""

    def ByteSize(self) -> int:
        return self.size


class Reader:
    def __init__(self) -> None:
        self._kinds: Kinds[_Said] = Kinds(
            RAW_INPUT_CONTENTS, service_pb2.ModelInferRequest.ID_FIELD_NUMBER
        )

    def read(self, data: bytes) -> InferRequest:
        """Raises: DecodeError if it is no ModelInferRequest."""
        found = self._kinds.find(data)
        if found is not None:
            model, version, asked = found.said
            return InferRequest(found.id, model, version, (found.tensor,), len(data), asked)
        lifted: Sequence[memoryview] = ()
        rest = data
        if len(data) >= LARGE_BYTES:
            rest, lifted = lift(data, RAW_INPUT_CONTENTS)
        message = service_pb2.ModelInferRequest.FromString(rest)
        return InferRequest(
            message.id,
            message.model_name,
            message.model_version,
            lifted or message.raw_input_contents,
            len(data),
            message=message,
            data=data if lifted or len(data) < LARGE_BYTES else b"",
        )

    def understand(self, request: InferRequest) -> tuple[Asked, Sequence[Data]]:
        """What it asks for, and the data of each input. Raises: InvalidInput."""
        if request.asked is not None:
            return request.asked, request.contents
        message = request.message
        options = options_of(_values(message.parameters))
        inputs, data = _inputs(message, request.contents)
        asked = Asked(options, inputs, [_wanted(output) for output in message.outputs])
        if len(request.contents) == 1:
            self._kinds.add(request.data, _Said(request.model, request.version, asked))
        return asked, data


def _inputs(request: Any, contents: Sequence[bytes | memoryview]) -> tuple[list[Given], list[Data]]:
    """Raises: InvalidInput if an input has no data, or has it twice."""
    model = request.model_name
    place, count = 0, len(contents)
    inputs, found = [], []
    for tensor in request.inputs:
        name = tensor.name
        data: Data
        if tensor.parameters and "shared_memory_region" in tensor.parameters:
            raise InvalidInput(
                f"Unable to find shared memory region of input {quoted(name)}: send its bytes"
            )
        if tensor.HasField("contents"):
            if count:
                raise InvalidInput(
                    "contents field must not be specified when using raw_input_contents for "
                    f"{quoted(name)} for model '{model}'"
                )
            data = typed(name, tensor.datatype, tensor.contents, model)
        elif place < count:
            data = contents[place]
            place += 1
        else:
            raise InvalidInput(
                f"unable to find data for input tensor {quoted(name)} for model '{model}' in "
                "request."
            )
        inputs.append(Given(name, tensor.datatype, tuple(tensor.shape)))
        found.append(data)
    if place < count:
        raise InvalidInput(
            f"unexpected additional input data for model '{model}': {count} raw_input_contents "
            f"for {place} inputs"
        )
    return inputs, found


def _wanted(output: Any) -> Wanted:
    parameters = output.parameters
    if not parameters:
        return Wanted(output.name)
    if "shared_memory_region" in parameters:
        raise InvalidInput(
            f"Unable to find shared memory region of output {quoted(output.name)}: leave it out"
        )
    if "classification" not in parameters:
        return Wanted(output.name)
    given = parameters["classification"]
    if given.WhichOneof("parameter_choice") != "int64_param":
        raise InvalidInput(
            "invalid value type for 'classification' parameter, expected int64_param"
        )
    if given.int64_param < 0:
        raise InvalidInput("invalid value for 'classification' parameter, expected >= 0")
    return Wanted(output.name, given.int64_param)


def _values(parameters: Mapping[str, Any]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        values[name] = getattr(parameter, choice) if choice else None
    return values
