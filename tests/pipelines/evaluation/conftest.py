"""A plain Predictor: one row an input, by a servable alone."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from serving.errors import InvalidInput
from serving.runtime.servable import Servable


class PlainPredictor:
    lanes = 2

    def __init__(self, servable: Servable, domain: str):
        self.servable = servable
        self.manifest = servable.manifest
        self.model = SimpleNamespace(
            name=servable.name,
            version=servable.version,
            digest="0" * 64,
            domain=domain,
            labels=tuple(servable.labels),
        )

    def __call__(self, table: pa.Table) -> pa.Table:
        scores, errors = [], []
        for data, error in zip(table["data"].to_pylist(), table["error"].to_pylist(), strict=True):
            try:
                if error is not None:
                    raise InvalidInput(error)
                example = self.servable.preprocess(self.servable.decode(data))
                scores.append(self.servable.predict(example[np.newaxis]).scores[0].tolist())
                errors.append(None)
            except InvalidInput as refusal:
                scores.append(None)
                errors.append(str(refusal))
        kind = pa.list_(pa.float32())
        return pa.table(
            {
                "input": table["input"],
                "all_scores": pa.array(scores, kind),
                "error": pa.array(errors, pa.string()),
            }
        )


@pytest.fixture(scope="session")
def predictor(servables) -> Callable[[str], PlainPredictor]:
    return lambda domain: PlainPredictor(servables(domain), domain)
