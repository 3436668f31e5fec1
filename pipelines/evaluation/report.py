"""An evaluation as a folder: report.html, one file that reads by itself, and report.json."""

import base64
import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from pipelines.evaluation.calibration import BINS, Reliability
from pipelines.evaluation.charts import confusion_picture, reliability_diagram
from pipelines.evaluation.evaluate import Evaluation
from pipelines.evaluation.exhibits import exhibit, shortened
from pipelines.page import templates
from pipelines.whole_file import write_file

HTML, JSON = "report.html", "report.json"
TABLED = 25  # classes whose confusion matrix is a table; of more it is a picture
LISTED = 200  # left-out examples that the page names; the JSON names all


def write_report(evaluation: Evaluation, command: str, folder: Path) -> Path:
    """Returns: the page's path.  Raises: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / JSON, to_json(as_dict(evaluation, command)))
    write_file(folder / HTML, to_html(evaluation, command))
    return folder / HTML


def as_dict(evaluation: Evaluation, command: str) -> dict[str, Any]:
    """Every figure, unrounded; null where there is none."""
    model, data, measures = evaluation.model, evaluation.data, evaluation.measures
    calibration = evaluation.calibration
    return {
        "model": {"name": model.name, "version": model.version, "digest": model.digest},
        "data": {
            "name": data.name,
            "split": data.split,
            "examples": len(data.examples),
            "origin": data.origin,
            "licence": data.licence,
        },
        "command": command,
        "created": evaluation.created.isoformat(timespec="seconds"),
        "triptych": version("triptych"),
        "notes": evaluation.notes,
        "measured": measures.examples,
        "right": measures.right,
        "accuracy": measures.accuracy,
        "accuracy_interval_95": measures.interval,
        "top5_accuracy": measures.top5,
        "macro_precision": measures.precision,
        "macro_recall": measures.recall,
        "macro_f1": measures.f1,
        "log_loss": measures.log_loss,
        "calibration": {
            "before": _reliability(calibration.before),
            "temperature": calibration.temperature,
            "reason": calibration.reason or None,
            "after": calibration.after and _reliability(calibration.after),
        },
        "classes": [c._asdict() for c in measures.classes],
        "confusion": measures.confusion.tolist(),
        "mistakes": [
            {
                "input": str(m.source),
                "true": m.true,
                "answered": m.answered,
                "score": m.score,
                "true_score": m.true_score,
            }
            for m in evaluation.mistakes
        ],
        "left_out": [item._asdict() for item in evaluation.left_out],
        "unknown_classes": evaluation.unknown,
        "not_listed": [item._asdict() for item in data.skipped],
    }


def to_json(content: dict[str, Any]) -> str:
    """A line for each key, so that a confusion matrix is one line and not a thousand."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in content.items()
    )
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    # Of a file name that is not UTF-8: Python's escape of a surrogate is JSON's too.
    return text.encode(errors="backslashreplace").decode()


def to_html(evaluation: Evaluation, command: str) -> str:
    environment = templates(Path(__file__).parent / "template")
    environment.filters |= {
        "figure": figure,
        "percent": percent,
        "shortened": shortened,
        "span": span,
    }
    spec = evaluation.manifest.input
    return environment.get_template("report.html").render(
        evaluation=evaluation,
        model=evaluation.model,
        manifest=evaluation.manifest,
        data=evaluation.data,
        measures=evaluation.measures,
        calibration=evaluation.calibration,
        classes=[c for c in evaluation.measures.classes if c.examples or c.answered],
        bins=BINS,
        chance=math.log(len(evaluation.measures.classes)),
        matrix=_matrix(evaluation),
        reliability=Markup(reliability_diagram(evaluation.calibration)),
        mistakes=[(m, exhibit(m.source, spec)) for m in evaluation.mistakes],
        listed=LISTED,
        command=command,
        triptych=version("triptych"),
    )


def _reliability(reliability: Reliability) -> dict[str, Any]:
    return reliability._asdict() | {"bins": [b._asdict() for b in reliability.bins]}


def _matrix(evaluation: Evaluation) -> dict[str, Any]:
    """Of the classes that occur, as truth or as answer."""
    measures = evaluation.measures
    occur = [i for i, c in enumerate(measures.classes) if c.examples or c.answered]
    labels = [measures.classes[i].label for i in occur]
    counts = measures.confusion[np.ix_(occur, occur)]
    if len(occur) > TABLED:
        picture = base64.b64encode(confusion_picture(counts, labels, "")).decode()
        return {"picture": f"data:image/png;base64,{picture}"}
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [
        (label, list(zip(row.tolist(), share.tolist(), strict=True)))
        for label, row, share in zip(labels, counts, shares, strict=True)
    ]
    return {"picture": "", "labels": labels, "rows": rows}


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}".replace("%", " %")


def span(interval: tuple[float, float]) -> str:
    return f"{interval[0] * 100:.2f} to {percent(interval[1])}"


def figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
