"""TensorFlow Serving's JSON -> tf.Example. What becomes of examples is
`tensorflow_serving_examples`' matter.
"""

from collections.abc import Mapping
from typing import Any

from serving.protocols.tensorflow_serving_json import JSON_TYPES, bytes_of, is_base64, shown
from serving.protocols.tensorflow_serving_status import invalid

CONTEXT, EXAMPLES = "context", "examples"

# What a value becomes: kind of feature, and the field that holds it.
KINDS = {
    bool: ("int64", "int64_list"),
    int: ("int64", "int64_list"),
    float: ("float", "float_list"),
    str: ("bytes", "bytes_list"),
    dict: ("bytes", "bytes_list"),
}


def fill_input(message: Any, document: Mapping[str, Any]) -> None:
    """Of Classify and Regress: an `Input` with examples, and with their context if there is one."""
    examples = document.get(EXAMPLES)
    if EXAMPLES not in document:
        raise invalid(
            f"JSON Value: {shown(document)} When method is classify, key '{EXAMPLES}' is "
            "expected and was not found"
        )
    if not isinstance(examples, list):
        raise invalid(
            f"JSON Value: {shown(document)} Expecting '{EXAMPLES}' value to be an list/array"
        )
    if not examples:
        raise invalid(f"JSON Value: {shown(document)} '{EXAMPLES}' value is an empty array")
    listed = message.example_list
    if CONTEXT in document:
        listed = message.example_list_with_context
        _fill_example(listed.context, document[CONTEXT])
    for one in examples:
        _fill_example(listed.examples.add(), one)


def _fill_example(example: Any, given: Any) -> None:
    if not isinstance(given, dict):
        raise invalid(f"Example must be JSON object but got JSON {JSON_TYPES[type(given)]}")
    for name, content in given.items():
        try:
            _fill_feature(
                example.features.feature[name],
                name,
                content if isinstance(content, list) else [content],
            )
        except UnicodeEncodeError:
            raise invalid(f"Feature: {shown(name)} is no Unicode") from None


def _fill_feature(feature: Any, name: str, values: list[Any]) -> None:
    kinds = {kind: KINDS.get(kind) for kind in map(type, values)}
    for kind, known in kinds.items():
        if known is None or (kind is dict and not all(map(_base64_if_object, values))):
            raise invalid(
                f"Feature: {name} has element with unexpected JSON type: {JSON_TYPES[kind]}"
            )
    if not kinds:
        return
    expected, field = KINDS[type(values[0])]
    if len(set(kinds.values())) > 1:
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {expected}")
    filled = getattr(feature, field).value
    if field == "bytes_list":
        filled.extend([bytes_of(value) for value in values])
        return
    try:
        filled.extend(map(int, values) if field == "int64_list" else values)  # bool too
    except (ValueError, OverflowError):
        raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.") from None


def _base64_if_object(value: Any) -> bool:
    return not isinstance(value, dict) or is_base64(value)
