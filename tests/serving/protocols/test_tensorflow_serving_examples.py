"""Classify, Regress and MultiInference on tf.Example, by the unmodified client."""

import grpc
import numpy as np
import pytest
import pytest_asyncio
import tensorflow as tf
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.inference_pb2 import InferenceTask, MultiInferenceRequest
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from serving.protocols.tensorflow_serving_inference import CLASSIFY, REGRESS
from tests.serving.accounts import account_of
from tests.serving.protocols.tensorflow_serving_fixtures import (
    WEIGHTS,
    example,
    listed,
    serving,
    spec,
)
from tests.serving.server_fixtures import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID = grpc.StatusCode.INVALID_ARGUMENT
X = np.array([[1, 2, 3], [0.5, 0, -1]], np.float32)
FLOATS = [example(x=row.tolist()) for row in X]
SCORES = X @ WEIGHTS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tiny, tmp_path_factory):
    async with serving(
        tiny,
        tmp_path_factory.mktemp("repository"),
        max_inputs_per_request=8,
        max_request_bytes=100_000,
    ) as served:
        yield served


def classes(result) -> tuple[list[list[str]], np.ndarray]:
    each = [list(one.classes) for one in result.classifications]
    return [[c.label for c in one] for one in each], np.array([[c.score for c in o] for o in each])


# Classify


@pytest.mark.parametrize("name", ["image__encoded", "x", "inputs"])
@pytest.mark.parametrize("signature", ["", "classify"])
async def test_files_of_our_own(served, tiny, signature, name) -> None:
    items = [tiny.item("image", seed) for seed in range(3)]
    given = listed(*(example(**{name: item}) for item in items))
    call = served.predictions.Classify(
        ClassificationRequest(model_spec=spec("image", signature, version=1), input=given)
    )
    response = await call
    wanted = spec("image", signature or "serving_default", version=1)
    assert response.model_spec == wanted
    labels, scores = classes(response.result)
    assert labels == [tiny.labels["image"]] * 3
    for row, item in zip(scores, items, strict=True):
        np.testing.assert_allclose(row, tiny.scores("image", item), atol=1e-5)
    account = account_of(await call.trailing_metadata())
    assert int(account["decode-us"]) > 0
    assert account["version"] == "1"


async def test_of_many_features_with_bytes_the_known_name_is_taken(served, tiny) -> None:
    item = tiny.item("image")
    features = {"image__format": b"png", "image__encoded": item, "image__height": 9}
    request = ClassificationRequest(
        model_spec=spec("image", version=1), input=listed(example(**features))
    )
    _, scores = classes((await served.predictions.Classify(request)).result)
    np.testing.assert_allclose(scores[0], tiny.scores("image", item), atol=1e-5)


async def test_a_context_is_part_of_each_example(served, tiny) -> None:
    mine, of_all = tiny.item("text", 3).encode(), tiny.item("text", 4).encode()
    given = listed(example(text=mine), example(n=1), context=example(text=of_all))
    request = ClassificationRequest(model_spec=spec("text"), input=given)
    _, scores = classes((await served.predictions.Classify(request)).result)
    for row, item in zip(scores, (mine, of_all), strict=True):
        np.testing.assert_allclose(row, tiny.scores("text", item), atol=1e-5)


async def test_numbers_go_to_the_network_itself(served, tiny) -> None:
    pixels = np.random.default_rng(0).normal(size=(2, 8 * 8 * 3)).astype(np.float32)
    given = listed(*(example(pixels=row.tolist(), id=7) for row in pixels))
    request = ClassificationRequest(model_spec=spec("image", version=1), input=given)
    labels, scores = classes((await served.predictions.Classify(request)).result)
    assert labels == [tiny.labels["image"]] * 2
    request = PredictRequest(model_spec=spec("image", "predict", version=1))
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(pixels.reshape(2, 8, 8, 3)))
    predicted = (await served.predictions.Predict(request)).outputs["scores"]
    np.testing.assert_allclose(scores, tf.make_ndarray(predicted), atol=1e-5)


@pytest.mark.parametrize(
    ("domain", "given"),
    [("audio", example(mel=[0.5] * 12)), ("text", example(codes=[3, 60, 0, 1, 2, 7, 8, 9]))],
)
async def test_numbers_of_any_length_where_the_network_takes_them(served, domain, given) -> None:
    request = ClassificationRequest(model_spec=spec(domain), input=listed(given))
    _, scores = classes((await served.predictions.Classify(request)).result)
    np.testing.assert_allclose(scores.sum(), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("signature", "labels", "scores"),
    [
        ("classify", ["left", "right"], SCORES),
        ("scores_only", ["", ""], SCORES),
        ("labels_only", ["left", "right"], np.zeros((2, 2))),
    ],
)
async def test_a_foreign_model_parses_examples_itself(served, signature, labels, scores) -> None:
    request = ClassificationRequest(model_spec=spec(signature=signature), input=listed(*FLOATS))
    response = await served.predictions.Classify(request)
    assert response.model_spec == spec(signature=signature, version=1)
    found = classes(response.result)
    assert found[0] == [labels] * 2
    np.testing.assert_allclose(found[1], scores)


async def test_the_graph_gets_context_and_example_as_one(served) -> None:
    given = listed(example(n=1), FLOATS[1], context=FLOATS[0])
    request = ClassificationRequest(model_spec=spec(signature="scores_only"), input=given)
    _, scores = classes((await served.predictions.Classify(request)).result)
    np.testing.assert_allclose(scores, SCORES)


# Regress


@pytest.mark.parametrize(
    ("signature", "given", "wanted"),
    [
        ("regress", FLOATS, SCORES[:, 0]),
        ("regress_flat", FLOATS, X[:, 0]),
        ("regress_int", [example(n=[-7, 1]), example(n=[2, 2])], [-7, 2]),
    ],
)
async def test_regress(served, signature, given, wanted) -> None:
    request = RegressionRequest(model_spec=spec(signature=signature), input=listed(*given))
    response = await served.predictions.Regress(request)
    assert response.model_spec == spec(signature=signature, version=1)
    np.testing.assert_allclose([one.value for one in response.result.regressions], wanted)


# MultiInference


def tasks(*pairs: tuple[str, str], model: str = "foreign", given: Input | None = None):
    return MultiInferenceRequest(
        tasks=[
            InferenceTask(model_spec=spec(model, signature), method_name=method)
            for signature, method in pairs
        ],
        input=listed(*FLOATS) if given is None else given,
    )


async def test_many_signatures_on_the_same_examples(served) -> None:
    call = served.predictions.MultiInference(tasks(("classify", CLASSIFY), ("regress", REGRESS)))
    classified, regressed = (await call).results
    assert classified.model_spec == spec(signature="classify", version=1)
    assert regressed.model_spec == spec(signature="regress", version=1)
    np.testing.assert_allclose(classes(classified.classification_result)[1], SCORES)
    values = [one.value for one in regressed.regression_result.regressions]
    np.testing.assert_allclose(values, SCORES[:, 0])
    assert "compute-us" in account_of(await call.trailing_metadata())


# What is refused

NO_SIGNATURE = "No signature was found with the name: x"


@pytest.mark.parametrize(
    ("signature", "given", "told"),
    [
        ("x", listed(*FLOATS), NO_SIGNATURE),
        ("classify", Input(), "Input is empty."),
        ("classify", listed(), "Input is empty."),
        ("classify", listed(context=FLOATS[0]), "Input is empty."),
        ("two", listed(*FLOATS), "Expected one input Tensor."),
        ("three", listed(*FLOATS), "Expected one or two output Tensors, found 3"),
        ("unnamed", listed(*FLOATS), "No classification inputs found in SignatureDef: "),
        (
            "unnamed_out",
            listed(*FLOATS),
            "Expected classification signature outputs to contain at least one of "
            '"classes" or "scores". Signature was: ',
        ),
        (
            "scores_flat",
            listed(*FLOATS),
            "Expected Tensor shape: [batch_size num_classes] but got [2]",
        ),
        ("scores_double", listed(*FLOATS), "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ("scores_less", listed(*FLOATS), "Expected scores output batch size of 2. Got: 1"),
        (
            "uneven",
            listed(*FLOATS),
            "Tensors class and score should match in dim_size(1). Got 2 vs. 1",
        ),
    ],
)
async def test_classify_refuses_what_the_reference_refuses(served, signature, given, told) -> None:
    request = ClassificationRequest(model_spec=spec(signature=signature), input=given)
    code, details = await refused(served.predictions.Classify(request))
    assert (code, details[: len(told)]) == (INVALID, told)


@pytest.mark.parametrize(
    ("signature", "given", "told"),
    [
        ("x", listed(*FLOATS), NO_SIGNATURE),
        ("regress", Input(), "Input is empty."),
        ("two", listed(*FLOATS), "Expected one input Tensor."),
        ("classify", listed(*FLOATS), "Expected one output Tensor."),
        ("unnamed", listed(*FLOATS), "No regression inputs found in SignatureDef: "),
        ("unnamed_out", listed(*FLOATS), "No regression outputs found in SignatureDef: "),
        (
            "regress_wide",
            listed(*FLOATS),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            "[2,2]",
        ),
        ("regress_double", listed(*FLOATS), "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
        (
            "regress_less",
            listed(*FLOATS),
            "Input batch size did not match output batch size: 2 vs. 1",
        ),
    ],
)
async def test_regress_refuses_what_the_reference_refuses(served, signature, given, told) -> None:
    request = RegressionRequest(model_spec=spec(signature=signature), input=given)
    code, details = await refused(served.predictions.Regress(request))
    assert (code, details[: len(told)]) == (INVALID, told)


@pytest.mark.parametrize(
    ("request_", "code", "told"),
    [
        (MultiInferenceRequest(), INVALID, "ModelSpec has no name specified."),
        (
            tasks(("x", CLASSIFY)),
            INVALID,
            "Requested signature not found in model graph: x",
        ),
        (
            tasks(("classify", CLASSIFY), ("classify", CLASSIFY)),
            INVALID,
            "Duplicate evaluation of signature: classify",
        ),
        (
            tasks(("classify", "tensorflow/serving/predict")),
            grpc.StatusCode.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (tasks(("regress", CLASSIFY)), INVALID, "Expected classification signature outputs"),
        (tasks(("classify", REGRESS)), INVALID, "Expected one output Tensor."),
        (tasks(("classify", CLASSIFY), given=Input()), INVALID, "Input is empty."),
        (
            tasks(("", CLASSIFY), model="foo"),
            grpc.StatusCode.NOT_FOUND,
            "Servable not found for request: Latest(foo)",
        ),
        (
            MultiInferenceRequest(
                tasks=[
                    InferenceTask(model_spec=spec(model, "classify"), method_name=CLASSIFY)
                    for model in ("image", "text")
                ],
                input=listed(*FLOATS),
            ),
            INVALID,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            MultiInferenceRequest(
                tasks=[
                    InferenceTask(model_spec=spec("image", "classify"), method_name=CLASSIFY),
                    InferenceTask(method_name=CLASSIFY),
                ],
                input=listed(*FLOATS),
            ),
            INVALID,
            "Found ModelSpec with an empty model name.",
        ),
    ],
)
async def test_multi_inference_refuses_as_the_reference(served, request_, code, told) -> None:
    found, details = await refused(served.predictions.MultiInference(request_))
    assert (found, details[: len(told)]) == (code, told)


@pytest.mark.parametrize("method", ["Classify", "Regress", "GetModelMetadata"])
async def test_a_request_names_a_model(served, method) -> None:
    kinds = {"Classify": ClassificationRequest, "Regress": RegressionRequest}
    request = kinds.get(method, GetModelMetadataRequest)()
    code, details = await refused(getattr(served.predictions, method)(request))
    assert (code, details) == (INVALID, "Missing ModelSpec")


@pytest.mark.parametrize(
    ("model", "given", "told"),
    [
        ("image", listed(example(a=b"1", b=b"2")), ["example 0", "'a', 'b'", "'inputs'"]),
        ("image", listed(example(a=[b"1", b"2"])), ["example 0", "2 values in 'a'"]),
        ("image", listed(example(a=[b"no file"])), ["input 0"]),
        ("image", listed(example(a=1)), ["example 0", "float_list"]),
        ("image", listed(example(a=[1.0, 2.0])), ["2 values in 'a'", "[8, 8, 3]"]),
        ("image", listed(example(a=b"1"), example(b=1.0)), ["example 1 has none with bytes"]),
        ("image", listed(*[example(a=b"1")] * 9), ["9 examples, and 8 are allowed"]),
        ("audio", listed(example(a=[0.5] * 5)), ["5 values in 'a'", "[any, 4]"]),
        (
            "audio",
            listed(example(a=[0.5] * 4), example(a=[0.5] * 8)),
            ["same size", "[1, 4], [2, 4]"],
        ),
        ("text", listed(example(a=[2**40])), ["no int32"]),
        (
            "foreign",
            listed(*FLOATS, context=example(a=b"x" * 60_000)),
            ["the context is 120,", "100,000 are allowed"],
        ),
    ],
)
async def test_examples_that_do_not_fit_are_refused(served, model, given, told) -> None:
    signature = "classify" if model == "foreign" else ""
    request = ClassificationRequest(model_spec=spec(model, signature), input=given)
    code, details = await refused(served.predictions.Classify(request))
    assert code is INVALID
    assert all(part in details for part in told), details
