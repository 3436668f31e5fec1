"""What a ModelInferRequest asks for, and its tensors' bytes, left where they came.

A client sends the same message again and again, but for its id and the bytes of its tensor. So what
such messages ask for is kept, and the next of a kind is only compared: protobuf's accessors take
ten times as long.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from tritonclient.grpc import service_pb2

from serving.errors import InvalidInput
from serving.protocols.open_inference_call import Asked, Wanted, options_of
from serving.protocols.open_inference_tensors import Data, Given, quoted, typed
from serving.protocols.wire import LARGE_BYTES, LENGTH, lift, varint

MOST_KINDS = 32
MOST_KIND_BYTES = 1024
ID = service_pb2.ModelInferRequest.ID_FIELD_NUMBER
RAW_INPUT_CONTENTS = service_pb2.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
ID_TAG = ID << 3 | LENGTH


class InferRequest(NamedTuple):
    """contents: raw_input_contents, of a large message, or of a known kind, where it came.
    asked:    None if it is of no known kind; then there is a message.
    """

    id: str
    model: str
    version: str
    contents: Sequence[bytes | memoryview]
    data: bytes
    asked: Asked | None = None
    message: Any = None

    def ByteSize(self) -> int:
        return len(self.data)


class Reader:
    """Of the last kinds of requests that came, it remembers what they ask for."""

    def __init__(self) -> None:
        self._kinds: deque[_Kind] = deque(maxlen=MOST_KINDS)

    def read(self, data: bytes) -> InferRequest:
        """Raises: DecodeError if it is no ModelInferRequest."""
        for kind in self._kinds:
            request = kind.read(data)
            if request is not None:
                return request
        lifted: Sequence[memoryview] = ()
        rest = data
        if len(data) >= LARGE_BYTES:
            rest, lifted = lift(data, (RAW_INPUT_CONTENTS,))
        message = service_pb2.ModelInferRequest.FromString(rest)
        return InferRequest(
            message.id,
            message.model_name,
            message.model_version,
            lifted or message.raw_input_contents,
            data,
            message=message,
        )

    def understand(self, request: InferRequest) -> tuple[Asked, Sequence[Data]]:
        """What it asks for, and the data of each input. Raises: InvalidInput."""
        if request.asked is not None:
            return request.asked, request.contents
        message = request.message
        options = options_of(_values(message.parameters))
        inputs, data = _inputs(message, request.contents)
        asked = Asked(options, inputs, [_wanted(output) for output in message.outputs])
        kind = _Kind.of(request, asked)
        if kind is not None and kind[:3] not in [known[:3] for known in self._kinds]:
            self._kinds.appendleft(kind)
        return asked, data


class _Kind(NamedTuple):
    """Messages that are `before`, an id or none, `after`, and the bytes of their only tensor."""

    before: bytes
    after: bytes
    tensor_bytes: int
    model: str
    version: str
    asked: Asked

    @classmethod
    def of(cls, request: InferRequest, asked: Asked) -> Self | None:
        """None of a message that is large beside its tensor, or does not end with it."""
        data, has_id, before, after, at = request.data, False, -1, 0, 0
        while at < min(len(data), MOST_KIND_BYTES):
            field = at
            tag, at = varint(data, at)
            number = tag >> 3
            if tag & 7 != LENGTH or (number == ID and has_id):
                return None
            size, at = varint(data, at)
            if number == ID:
                has_id, before, after = True, field, at + size
            elif number > ID and before < 0:  # where protobuf writes an id
                before = after = field
            if number == RAW_INPUT_CONTENTS:
                if at + size != len(data):
                    return None
                kind = data[:before], data[after:at], size
                return cls(*kind, request.model, request.version, asked)
            at += size
        return None

    def read(self, data: bytes) -> InferRequest | None:
        """None if it is of another kind."""
        at, request_id = len(self.before), ""
        if not data.startswith(self.before) or len(data) < at + 2:
            return None
        if data[at] == ID_TAG:
            # Of a longer id, whose size has more bytes, the sum does not come out even.
            size, start = data[at + 1], at + 2
            at = start + size
            try:
                request_id = data[start:at].decode()
            except UnicodeDecodeError:
                return None  # protobuf says so
        tensor = at + len(self.after)
        if len(data) != tensor + self.tensor_bytes or not data.startswith(self.after, at):
            return None
        contents = (memoryview(data)[tensor:],)
        return InferRequest(request_id, self.model, self.version, contents, data, self.asked)


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
