"""The inputs of an HTTP call: its body may be a file as it is, a form with files, or JSON."""

import asyncio
import base64
import binascii
import json
from collections.abc import Collection
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from serving.engine import Item
from serving.errors import InvalidInput
from serving.protocols.classification import allowed, require_inputs
from serving.protocols.http_refusals import shown

RAW_KINDS = ("image/", "audio/", "text/plain", "application/octet-stream", "application/ogg")
CURL_KIND = "application/x-www-form-urlencoded"  # what `curl --data-binary` says of any bytes
TEXT_FIELD = "text"
MOST_JSON_MARKS = 1_000_000  # each may become an object of 80 bytes
MOST_DIGITS = 18  # of a version
LARGE_JSON_BYTES = 100_000  # what takes long enough to be read in a thread
KINDS = (
    "send a file as it is (curl --data-binary @FILE), a form (curl -F file=@FILE), or JSON as "
    '{"inputs": ["text", {"b64": "..."}]} with Content-Type: application/json'
)


_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
_B64 = {"type": "object", "properties": {"b64": {"type": "string"}}, "required": ["b64"]}
_INPUTS = {"type": "array", "items": {"anyOf": [{"type": "string"}, _B64]}}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": _FILES,
                        TEXT_FIELD: {"type": "array", "items": {"type": "string"}},
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"inputs": _INPUTS},
                    "required": ["inputs"],
                }
            },
        },
    }
}


async def read_inputs(
    request: Request, most_inputs: int, most_bytes: int, parameters: Collection[str]
) -> list[Item]:
    """
    Args:   parameters: of the query, which some will send as fields of the form.
    Raises: InvalidInput if it cannot be told what they are; HTTPException 415 if it comes as
            nothing that is read here.
    """
    if encoding := request.headers.get("content-encoding"):
        raise HTTPException(
            415, f"the body is encoded as {shown(encoding)}: send it without that encoding"
        )
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form(request, most_inputs, most_bytes, parameters)
    if kind == "application/json":
        body = await request.body()
        if len(body) < LARGE_JSON_BYTES:
            return _json(body, most_inputs)
        return await asyncio.to_thread(_json, body, most_inputs)
    if kind and kind != CURL_KIND and not kind.startswith(RAW_KINDS):
        raise HTTPException(415, f"a body of type {shown(kind)} is not read: {KINDS}")
    body = await request.body()
    return [body] if body else []


async def _form(
    request: Request, most_inputs: int, most_bytes: int, parameters: Collection[str]
) -> list[Item]:
    try:
        form = await _Form(request, most_inputs, most_bytes, parameters).parse()
    except MultiPartException as error:
        raise InvalidInput(
            f"the form cannot be read ({error.message.rstrip('.')}): {KINDS}"
        ) from None
    items: list[Item] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            items.append(await value.read())
            await value.close()
        elif name == TEXT_FIELD:
            items.append(value)
        else:
            items.append(
                InvalidInput(
                    f"the form's field {shown(name)} is no file: send -F {name[:40]}=@FILE, "
                    f"or a text as -F {TEXT_FIELD}=..."
                )
            )
    return items


class _Form(MultiPartParser):
    """Starlette's, but counting, and in memory: the body's own limit is enough."""

    spool_max_size = 0  # never to disk

    def __init__(
        self, request: Request, most_inputs: int, most_bytes: int, parameters: Collection[str]
    ) -> None:
        super().__init__(
            request.headers,
            request.stream(),
            max_files=most_inputs + 1,  # of which one is refused here, in words of our own
            max_fields=most_inputs + 1,
            max_part_size=most_bytes,
        )
        self._inputs = 0
        self._most_inputs = most_inputs
        self._parameters = parameters

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        if part.file is None and part.field_name in self._parameters:
            raise InvalidInput(
                f"the form's field {shown(part.field_name)} is no input: send it in the address, "
                f"as ?{part.field_name}=..."
            )
        self._inputs += 1
        if self._inputs > self._most_inputs:
            raise InvalidInput(
                f"the form has more than {self._most_inputs} of files and texts, and "
                f"{allowed(self._most_inputs)}"
            )


def _json(body: bytes, most_inputs: int) -> list[Item]:
    marks = sum(body.count(mark) for mark in (b"[", b"{", b'"', b","))
    if marks > MOST_JSON_MARKS:
        raise InvalidInput(
            f"the JSON has {marks:,} brackets, quotes and commas, and {MOST_JSON_MARKS:,} are "
            "allowed: send large inputs as files, or several requests"
        )
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON ({error}): {KINDS}") from None
    if not isinstance(given, dict) or given.keys() != {"inputs"}:
        found = f"the keys {shown(sorted(given))}" if isinstance(given, dict) else "no object"
        raise InvalidInput(f'the JSON has {found}, and should have "inputs" alone: {KINDS}')
    inputs = given["inputs"]
    if not isinstance(inputs, list):
        raise InvalidInput(f"the JSON's inputs are {shown(inputs)}, and should be a list: {KINDS}")
    require_inputs(len(inputs), most_inputs)
    return [_item(one) for one in inputs]


def _item(given: Any) -> Item:
    if isinstance(given, str):
        return given
    if not isinstance(given, dict) or given.keys() != {"b64"} or not isinstance(given["b64"], str):
        return InvalidInput(
            f'the input is {_shown_json(given)}: send a text, or {{"b64": "..."}} for bytes'
        )
    try:
        return base64.b64decode(given["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        return InvalidInput(f"the input's b64 is not base64 ({error}): encode it again")


def _shown_json(given: Any) -> str:
    """Not the whole of it, which may be large."""
    if isinstance(given, dict):
        return f"an object with the keys {shown(sorted(given)[:4])}"
    return "a list" if isinstance(given, list) else shown(given)


def require_known(request: Request, parameters: Collection[str]) -> None:
    """Raises: InvalidInput if the query has another parameter."""
    for name in request.query_params:
        if name not in parameters:
            raise InvalidInput(
                f"there is no query parameter {shown(name)}: there are {', '.join(parameters)}"
            )


def version_or_label(given: str | None) -> tuple[int | None, str | None]:
    """A number, or else a label."""
    if given is None:
        return None, None
    if given.isascii() and given.isdigit() and len(given) <= MOST_DIGITS:
        return int(given), None
    return None, given
