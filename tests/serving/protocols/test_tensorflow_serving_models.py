"""GetModelMetadata, GetModelStatus and HandleReloadConfigRequest, by the unmodified client."""

import grpc
import pytest
import pytest_asyncio
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.config.file_system_storage_path_source_pb2 import (
    FileSystemStoragePathSourceConfig,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from serving.protocols.tensorflow_serving import SERVICES
from tests.serving.protocols.tensorflow_serving_fixtures import serving, spec
from tests.serving.server_fixtures import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

State = ModelVersionStatus.State
Policy = FileSystemStoragePathSourceConfig.ServableVersionPolicy
LABELS = ("stable", "canary")
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tiny, tmp_path_factory):
    """Which no test here changes."""
    async with serving(tiny, tmp_path_factory.mktemp("repository")) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(tiny, tmp_path):
    async with serving(tiny, tmp_path, foreign=False) as served:
        yield served


async def states(served, model: str) -> dict[int, tuple[str, int, str]]:
    """Version -> state, code and message."""
    response = await served.models.GetModelStatus(GetModelStatusRequest(model_spec=spec(model)))
    return {
        each.version: (
            State.Name(each.state),
            each.status.error_code,
            each.status.error_message,
        )
        for each in response.model_version_status
    }


# Metadata


async def metadata(served, model_spec) -> tuple[object, dict[str, object]]:
    request = GetModelMetadataRequest(model_spec=model_spec, metadata_field=["signature_def"])
    response = await served.predictions.GetModelMetadata(request)
    signatures = SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    return response.model_spec, signatures.signature_def


def shape(tensor) -> list[int]:
    return [dim.size for dim in tensor.tensor_shape.dim]


async def test_metadata_are_the_signatures(served) -> None:
    found, signatures = await metadata(served, spec("image"))
    assert found == spec("image", version=2)
    assert set(signatures) == {"classify", "predict", "preprocess", "serving_default"}
    predict, classify = signatures["predict"], signatures["classify"]
    assert predict.method_name == "tensorflow/serving/predict"
    assert (predict.inputs["examples"].dtype, shape(predict.inputs["examples"])) == (
        1,
        [-1, 8, 8, 3],
    )
    assert {name: shape(tensor) for name, tensor in predict.outputs.items()} == {
        "logits": [-1, 6],
        "scores": [-1, 6],
    }
    assert (classify.inputs["inputs"].dtype, shape(classify.inputs["inputs"])) == (7, [-1])


async def test_metadata_of_a_version_by_its_label(served) -> None:
    found, signatures = await metadata(served, spec("image", label="stable"))
    assert found == spec("image", version=1)
    assert "predict" in signatures


async def test_types_of_a_foreign_model(served) -> None:
    _, signatures = await metadata(served, spec())
    kinds = {name: tensor.dtype for name, tensor in signatures["kinds"].inputs.items()}
    assert kinds == {"f16": 19, "i64": 9, "u8": 4, "bit": 10}
    scalar = signatures["scalar"].inputs["x"]
    assert scalar.HasField("tensor_shape")
    assert not scalar.tensor_shape.unknown_rank
    assert shape(scalar) == []


@pytest.mark.parametrize(
    ("fields", "model_spec", "code", "told"),
    [
        ([], spec(), INVALID, "GetModelMetadataRequest must specify at least one metadata_field"),
        (["x"], spec(), INVALID, "Metadata field x is not supported"),
        (
            ["signature_def"],
            spec("foo"),
            NOT_FOUND,
            "Servable not found for request: Latest(foo)",
        ),
        (["signature_def"], spec(""), INVALID, "ModelSpec has no name specified."),
        (
            ["signature_def"],
            spec("image", label="beta"),
            INVALID,
            "Unrecognized servable version label: beta",
        ),
    ],
)
async def test_metadata_that_are_refused(served, fields, model_spec, code, told) -> None:
    request = GetModelMetadataRequest(model_spec=model_spec, metadata_field=fields)
    found, details = await refused(served.predictions.GetModelMetadata(request))
    assert (found, details[: len(told)]) == (code, told)


# Status


async def test_status_of_all_versions(served) -> None:
    assert await states(served, "image") == {
        2: ("AVAILABLE", 0, ""),
        1: ("AVAILABLE", 0, ""),
    }


async def test_status_of_one_version_ignores_labels(served) -> None:
    for model_spec, versions in (
        (spec("image", version=1), [1]),
        (spec("image", label="nonsense"), [2, 1]),
    ):
        request = GetModelStatusRequest(model_spec=model_spec)
        response = await served.models.GetModelStatus(request)
        assert [each.version for each in response.model_version_status] == versions


async def test_status_of_what_does_not_serve(served, tiny) -> None:
    tiny.publish(served.root, "audio", 7, change=tiny.spoil_golden)
    half = served.root / "audio" / "8"
    half.mkdir()
    await served.server.rescan()
    found = await states(served, "audio")
    assert found[1] == ("AVAILABLE", 0, "")
    assert found[7][:2] == ("END", grpc.StatusCode.FAILED_PRECONDITION.value[0])
    assert "golden scores are not reproduced" in found[7][2]
    assert found[8][:2] == ("START", 0)
    assert "still being copied?" in found[8][2]


@pytest.mark.parametrize(
    ("request_", "code", "told"),
    [
        (GetModelStatusRequest(), INVALID, "Missing ModelSpec"),
        (
            GetModelStatusRequest(model_spec=spec("foo")),
            NOT_FOUND,
            "Could not find any versions of model foo",
        ),
        (
            GetModelStatusRequest(model_spec=spec("image", version=7)),
            NOT_FOUND,
            "Could not find version 7 of model image",
        ),
        (
            GetModelStatusRequest(model_spec=spec("foo", version=7)),
            NOT_FOUND,
            "Could not find version 7 of model foo",
        ),
    ],
)
async def test_status_that_is_refused(served, request_, code, told) -> None:
    assert await refused(served.models.GetModelStatus(request_)) == (code, told)


# Reload


def config(root, name: str, **options: object) -> ModelConfig:
    defaults = {"base_path": f"{root}/{name}", "model_platform": "tensorflow"}
    return ModelConfig(name=name, **{**defaults, **options})


def reload(*models: ModelConfig) -> ReloadConfigRequest:
    request = ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    request.config.model_config_list.config.extend(models)
    return request


async def test_a_reload_is_declarative(fresh) -> None:
    request = reload(
        config(fresh.root, "text"),
        config(
            fresh.root,
            "image",
            model_version_policy=Policy(specific=Policy.Specific(versions=[1])),
            version_labels={"canary": 2},
        ),
    )
    request.metric_names.extend([":x", ":x"])
    response = await fresh.models.HandleReloadConfigRequest(request)
    assert response.status.error_code == 0
    assert [(each.name, each.int64_value_increase) for each in response.metric] == [(":x", 0)]
    assert await states(fresh, "text") == {1: ("AVAILABLE", 0, "")}
    found = await states(fresh, "image")
    assert {version: state for version, (state, _, _) in found.items()} == {
        1: "AVAILABLE",
        2: "END",
    }
    by_label = [await refused(metadata(fresh, spec("image", label=label))) for label in LABELS]
    assert [code for code, _ in by_label] == [INVALID, grpc.StatusCode.UNAVAILABLE]
    assert "label 'canary' of model 'image' is version 2" in by_label[1][1]
    assert (await states(fresh, "audio"))[1][0] == "END"
    await fresh.models.HandleReloadConfigRequest(
        reload(
            config(fresh.root, "audio", base_path=f"{fresh.root}/audio/"),
            config(fresh.root, "image", model_version_policy=Policy(all=Policy.All())),
        )
    )
    assert (await states(fresh, "audio"))[1][0] == "AVAILABLE"
    assert (await states(fresh, "image"))[2][0] == "AVAILABLE"
    assert (await states(fresh, "text"))[1][0] == "END"
    code, _ = await refused(
        fresh.predictions.GetModelMetadata(
            GetModelMetadataRequest(model_spec=spec("text"), metadata_field=["signature_def"])
        )
    )
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_the_newest_versions(fresh) -> None:
    newest = Policy(latest=Policy.Latest(num_versions=0))  # which stands for one
    await fresh.models.HandleReloadConfigRequest(
        reload(config(fresh.root, "image", model_version_policy=newest))
    )
    found = await states(fresh, "image")
    assert (found[2][0], found[1][0]) == ("AVAILABLE", "END")


async def test_an_empty_list_unloads_everything(fresh) -> None:
    await fresh.models.HandleReloadConfigRequest(reload())
    for model in ("image", "audio", "text"):
        found = await states(fresh, model)
        assert {state for state, _, _ in found.values()} == {"END"}


async def test_a_label_needs_a_version_that_is_ready(fresh) -> None:
    request = reload(config(fresh.root, "image", version_labels={"canary": 3}))
    assert await refused(fresh.models.HandleReloadConfigRequest(request)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "Request to assign label to version 3 of model image, which is not currently available "
        "for inference",
    )
    assert (await states(fresh, "text"))[1][0] == "AVAILABLE"


async def test_what_does_not_become_available_is_told(fresh, tiny) -> None:
    tiny.publish(fresh.root, "bad", 5, domain="text", change=tiny.spoil_golden)
    request = reload(config(fresh.root, "bad"), config(fresh.root, "text"))
    code, details = await refused(fresh.models.HandleReloadConfigRequest(request))
    told = (
        "1 model(s) did not become available: {{{name: bad version: 5} due to error: "
        "FAILED_PRECONDITION: "
    )
    assert (code, details[: len(told)]) == (grpc.StatusCode.UNKNOWN, told)
    assert "golden" in details
    assert details.endswith("}, }")
    assert (await states(fresh, "text"))[1][0] == "AVAILABLE"


async def test_a_model_that_is_not_there_is_told(fresh) -> None:
    request = reload(config(fresh.root, "none"))
    code, details = await refused(fresh.models.HandleReloadConfigRequest(request))
    told = "1 model(s) did not become available: {{{name: none} due to error: "
    assert (code, details[: len(told)]) == (grpc.StatusCode.UNKNOWN, told)


ROOT = "ROOT"  # stands for the repository


@pytest.mark.parametrize(
    ("models", "told"),
    [
        (
            [config(ROOT, "text"), config(ROOT, "text")],
            "Illegal to list model text multiple times in config list",
        ),
        (
            [config(ROOT, "text", base_path="some/where")],
            "Expected model text to have an absolute path or URI; got base_path()=some/where",
        ),
        (
            [config(ROOT, "text", base_path="/elsewhere/text")],
            "Model text has base_path()=/elsewhere/text, and this server has it in ROOT/text",
        ),
        (
            [config(ROOT, "text", base_path="gs://bucket/text")],
            "Model text has base_path()=gs://bucket/text, and this",
        ),
        (
            [config(ROOT, "text", base_path="ROOT/image")],
            "Model text has base_path()=ROOT/image, and this",
        ),
        (
            [config(ROOT, "text", base_path="ROOT/text/../../text")],
            "Model text has base_path()=ROOT/text/../../text, and this",
        ),
        ([config(ROOT, "..")], "Model .. cannot be served: "),
        ([config(ROOT, "a/../text")], "Model a/../text cannot be served: "),
        (
            [config(ROOT, "text", model_platform="onnx")],
            "Illegal to change a model's platform. For model text platform was tensorflow and "
            "new platform requested is onnx",
        ),
        (
            [config(ROOT, "new", model_platform="onnx")],
            "Model new requests unsupported platform onnx",
        ),
        (
            [config(ROOT, "text", model_platform="")],
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is text",
        ),
        (
            [config(ROOT, "text", model_type=1)],
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform, model name is text",
        ),
        (
            [config(ROOT, "text", model_type=2, model_platform="")],
            "ModelServerConfig::model_type choice 2 not supported.",
        ),
        (
            [config(ROOT, "text", model_version_policy=Policy(specific=Policy.Specific()))],
            "Model text has a policy of specific versions, and names none",
        ),
    ],
)
async def test_configurations_that_are_refused(served, models, told) -> None:
    root = str(served.root)
    for model in models:
        model.base_path = model.base_path.replace(ROOT, root)
    code, details = await refused(served.models.HandleReloadConfigRequest(reload(*models)))
    told = told.replace(ROOT, root)
    assert (code, details[: len(told)]) == (INVALID, told)
    assert (await states(served, "text"))[1][0] == "AVAILABLE"


@pytest.mark.parametrize(
    "request_",
    [ReloadConfigRequest(), ReloadConfigRequest(config=ModelServerConfig(custom_model_config={}))],
)
async def test_a_reload_has_a_list(served, request_) -> None:
    assert await refused(served.models.HandleReloadConfigRequest(request_)) == (
        INVALID,
        "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList "
        "is currently supported",
    )


async def test_the_deprecated_type_will_do(fresh) -> None:
    await fresh.models.HandleReloadConfigRequest(
        reload(config(fresh.root, "text", model_type=1, model_platform=""))
    )
    assert (await states(fresh, "text"))[1][0] == "AVAILABLE"


async def test_the_services_have_the_reference_s_names() -> None:
    assert SERVICES == (
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
    )
