"""Files and texts to triptych's own protocol: Classify, or ClassifyStream."""

import grpc
from google.protobuf.message import DecodeError

from protos.triptych.v1 import classifier_pb2, classifier_pb2_grpc
from triptych.loadgen.closed_loop import Sample
from triptych.loadgen.examples import made_up
from triptych.loadgen.plan import CannotPlan, Plan, Stream, Wanted, field, groups

SERVICE = "/triptych.v1.Classifier"
MADE_UP = 8  # different inputs


async def plan(channel: grpc.aio.Channel, wanted: Wanted) -> Plan:
    """Raises: CannotPlan; AioRpcError where the server does not know the model or the protocol."""
    files = wanted.files or await _made_up(channel, wanted)
    bodies = tuple(_body(group, wanted) for group in groups(files, wanted.batch))

    def problem(answer: bytes) -> str | None:
        try:
            response = classifier_pb2.ClassifyResponse.FromString(answer)
        except DecodeError as error:
            return f"no ClassifyResponse: {error}"
        return _problem(response, wanted.batch)

    return Plan(
        path=f"{SERVICE}/Classify",
        bodies=bodies,
        inputs=wanted.batch,
        problem=problem,
        what="files or texts" if wanted.files else "made-up files or texts",
        stream=_stream(bodies, wanted.batch),
    )


async def _made_up(channel: grpc.aio.Channel, wanted: Wanted) -> list[bytes | str]:
    stub = classifier_pb2_grpc.ClassifierStub(channel)
    request = classifier_pb2.GetModelRequest(model=wanted.model, version=wanted.version)
    model = await stub.GetModel(request, timeout=wanted.timeout_seconds)
    if not model.HasField("manifest"):
        raise CannotPlan(
            f"model {wanted.model!r} has no version that is ready, or none that triptych exported:"
            " send it tensors by --protocol oip or tfserving"
        )
    return [made_up(model.manifest.input, seed) for seed in range(MADE_UP)]


def _body(group: list[bytes | str], wanted: Wanted) -> bytes:
    request = classifier_pb2.ClassifyRequest(model=wanted.model, version=wanted.version)
    for item in group:
        if isinstance(item, str):
            request.inputs.add(text=item)
        else:
            request.inputs.add(data=item)
    return request.SerializeToString()


def _problem(response: classifier_pb2.ClassifyResponse, inputs: int) -> str | None:
    if len(response.results) != inputs:
        return f"{len(response.results)} results for {inputs} inputs"
    for result in response.results:
        if result.HasField("error"):
            return result.error.message
    return None


def _stream(bodies: tuple[bytes, ...], inputs: int) -> Stream:
    parse = classifier_pb2.ClassifyStreamResponse.FromString
    names = {code.value[0]: code.name for code in grpc.StatusCode}

    def refusal(answer: bytes) -> tuple[str, str] | None:
        response = parse(answer)
        if not response.HasField("error"):
            return None
        return names.get(response.error.code, "UNKNOWN"), response.error.message

    def sample(answer: bytes) -> Sample:
        response = parse(answer).response
        timing = response.timing
        account = {
            "queue-us": str(timing.queue_us),
            "decode-us": str(timing.preprocess_us),
            "compute-us": str(timing.predict_us),
            "batch-size": str(timing.batch_size),
        }
        return Sample(_problem(response, inputs), account)

    return Stream(
        path=f"{SERVICE}/ClassifyStream",
        bodies=tuple(field(2, body) for body in bodies),
        head=lambda number: field(1, number.encode()),
        id_of=lambda answer: parse(answer).id,
        refusal=refusal,
        sample=sample,
    )
