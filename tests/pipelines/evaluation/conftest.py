"""The tiny models of each domain, as batch jobs run them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from pipelines.batch.predictor import Predictor


@pytest.fixture(scope="session")
def predictor(repository: Path) -> Callable[[str], Predictor]:
    @cache
    def of_domain(domain: str) -> Predictor:
        folder = repository / f"tiny-{domain}" / "1"
        return Predictor(folder, all_scores=True, executor="tensorflow", cache=None)

    return of_domain
