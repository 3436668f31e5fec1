"""TensorFlow Serving's ModelService over gRPC: the states of versions, and which to serve.

A configuration is compared with what the repository has: no path or name of it is ever opened.
What becomes of it is `serving.watcher`'s matter.
"""

import asyncio
import os.path
import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
)

from serving.errors import BadVersion, ModelNotFound
from serving.manager import Manager, VersionStatus
from serving.observability import Metrics
from serving.protocols.status import STATUS
from serving.protocols.tensorflow_serving_status import Code, Refused, cut, invalid, refusal
from serving.repository import MODEL_NAME
from serving.settings import Settings
from serving.version_policy import All, Latest, Policy, Specific, State
from serving.watcher import LabelRefused, ModelOverride, ReloadFailed, Watcher

PROTOCOL = "tfserving"
PLATFORM = "tensorflow"
TENSORFLOW, UNSPECIFIED = 1, 0  # of the deprecated ModelType
BAD_VERSION = STATUS[BadVersion]
MAX_NAME_CHARACTERS = 255

Context = grpc.aio.ServicerContext[Any, Any]

STATES = {
    State.NEW: get_model_status_pb2.ModelVersionStatus.START,
    State.LOADING: get_model_status_pb2.ModelVersionStatus.LOADING,
    State.READY: get_model_status_pb2.ModelVersionStatus.AVAILABLE,
    State.QUIESCING: get_model_status_pb2.ModelVersionStatus.UNLOADING,
    State.UNLOADING: get_model_status_pb2.ModelVersionStatus.UNLOADING,
    State.DISABLED: get_model_status_pb2.ModelVersionStatus.END,
    State.FAILED: get_model_status_pb2.ModelVersionStatus.END,
}


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    def __init__(
        self,
        *,
        manager: Manager,
        watcher: Watcher,
        metrics: Metrics,
        settings: Settings,
        **others: object,
    ) -> None:
        self._manager = manager
        self._watcher = watcher
        self._metrics = metrics
        root = settings.repository
        self._roots = {os.path.normpath(root.absolute()), os.path.normpath(root.resolve())}
        self._reloading = asyncio.Lock()

    async def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: Context
    ) -> get_model_status_pb2.GetModelStatusResponse:
        began = time.perf_counter()
        code = Code.OK
        try:
            if not request.HasField("model_spec"):
                raise invalid("Missing ModelSpec")
            spec = request.model_spec
            version = spec.version.value if spec.HasField("version") else None
            return status_of(self._manager, spec.name, version)
        except Exception as error:
            refused = refusal(error)
            code = refused.code
            await context.abort(code, cut(refused.text))
            raise  # which abort has done
        finally:
            seconds = time.perf_counter() - began
            self._metrics.request(request.model_spec.name, PROTOCOL, code.name, seconds)

    async def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: Context
    ) -> model_management_pb2.ReloadConfigResponse:
        began = time.perf_counter()
        code = Code.CANCELLED
        try:
            async with self._reloading:
                await self._reload(request.config)
            code = Code.OK
        except Exception as error:
            refused = refusal(error)
            code = refused.code
            await context.abort(code, cut(refused.text))
        finally:
            self._metrics.request("", PROTOCOL, code.name, time.perf_counter() - began)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        for name in sorted(set(request.metric_names)):  # as for one that it does not know
            response.metric.add(name=name).int64_value_increase = 0
        return response

    async def _reload(self, config: Any) -> None:
        if config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
                "ModelConfigList is currently supported"
            )
        models = config.model_config_list.config
        _require_each_once(models)
        for model in models:
            _require_absolute(model)
        served = self._manager.models()
        for model in models:
            _require_platform(model, model.name in served)
            self._require_own_folder(model)
        wanted = {
            model.name: ModelOverride(_policy(model), dict(model.version_labels) or None)
            for model in models
        }
        try:
            await self._watcher.reload(wanted)
        except LabelRefused as error:
            raise Refused(
                Code.FAILED_PRECONDITION,
                f"Request to assign label to version {error.version} of model {error.name}, which "
                "is not currently available for inference",
            ) from None
        except ReloadFailed as error:
            raise Refused(Code.UNKNOWN, _failed(error)) from None

    def _require_own_folder(self, model: Any) -> None:
        """Compares texts alone."""
        name = model.name
        if len(name) > MAX_NAME_CHARACTERS or not MODEL_NAME.fullmatch(name):
            raise invalid(
                f"Model {name[:MAX_NAME_CHARACTERS]} cannot be served: a name has letters, digits "
                "and . _ - and begins with a letter or a digit"
            )
        own = {os.path.join(root, name) for root in self._roots}
        if os.path.normpath(model.base_path) not in own:
            raise invalid(
                f"Model {name} has base_path()={model.base_path[:MAX_NAME_CHARACTERS]}, and this "
                f"server has it in {min(own)}: it serves the models of its own repository"
            )


def status_of(
    manager: Manager, name: str, version: int | None
) -> get_model_status_pb2.GetModelStatusResponse:
    """Of all versions, the newest first, or of one."""
    versions: Mapping[int, VersionStatus]
    try:
        versions = manager.status(name)
    except ModelNotFound:
        versions = {}
    if version is not None:
        if version not in versions:
            raise Refused(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
        versions = {version: versions[version]}
    elif not versions:
        raise Refused(Code.NOT_FOUND, f"Could not find any versions of model {name}")
    response = get_model_status_pb2.GetModelStatusResponse()
    for number, status in versions.items():
        failed = status.state is State.FAILED
        response.model_version_status.add(
            version=number,
            state=STATES[status.state],
            status={
                "error_code": BAD_VERSION.value[0] if failed else 0,
                "error_message": status.reason,
            },
        )
    return response


def _require_each_once(models: Sequence[Any]) -> None:
    seen = set()
    for model in models:
        if model.name in seen:
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)


def _require_absolute(model: Any) -> None:
    scheme, found, _ = model.base_path.partition("://")
    is_uri = bool(found) and scheme.replace("+", "").replace(".", "").isalnum()
    if not is_uri and not model.base_path.startswith("/"):
        raise invalid(
            f"Expected model {model.name} to have an absolute path or URI; got "
            f"base_path()={model.base_path}"
        )


def _require_platform(model: Any, served: bool) -> None:
    platform = model.model_platform
    if model.model_type != UNSPECIFIED:
        if platform:
            raise invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform, model name is {model.name}"
            )
        if model.model_type != TENSORFLOW:
            raise invalid(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
        platform = PLATFORM
    if not platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f'ModelServerConfig::model_platform, model name is {model.name}; set "{PLATFORM}"'
        )
    if platform == PLATFORM:
        return
    if served:
        raise invalid(
            f"Illegal to change a model's platform. For model {model.name} platform was "
            f"{PLATFORM} and new platform requested is {platform}"
        )
    raise invalid(f"Model {model.name} requests unsupported platform {platform}")


def _policy(model: Any) -> Policy | None:
    """None: as the model's own configuration says."""
    policy = model.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "latest":
            return Latest(max(policy.latest.num_versions, 1))
        case "all":
            return All()
        case "specific":
            if not policy.specific.versions:
                raise invalid(
                    f"Model {model.name} has a policy of specific versions, and names none"
                )
            return Specific(frozenset(policy.specific.versions))
        case _:
            return None


def _failed(error: ReloadFailed) -> str:
    text = f"{len(error.failures)} model(s) did not become available: {{"
    for failure in error.failures:
        version = "" if failure.version is None else f" version: {failure.version}"
        reason = f"{BAD_VERSION.name}: {failure.reason}"
        text += f"{{{{name: {failure.name}{version}}} due to error: {reason}}}, "
    return text + "}"
