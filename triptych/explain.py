"""`triptych explain`: what in an input speaks for a class.

Methods that make a picture of their own, as dreams and attacks do, are explain_synthesis.py's.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from triptych import explain_synthesis
from triptych.console import fail, hint, key_value
from triptych.progress import progress

if TYPE_CHECKING:
    from pipelines.explain.compare import Comparison
    from pipelines.explain.explanation import Explanation
    from pipelines.explain.network import Network

EXAMPLE = (
    "Example: triptych explain frog.jpg --model cifar10 --method grad-cam --out frog.png\n\n"
    "The other class: triptych explain frog.jpg --model cifar10 --class bird\n\n"
    "A sound, with its part that counts as kept.wav: triptych explain seven.wav --model digits"
    " --method occlusion --out kept.png\n\n"
    "A text: triptych explain --text 'Who wrote Hamlet?' --model questions --method occlusion\n\n"
    "All methods over many inputs: triptych explain photos/*.jpg --model cifar10"
    " --report cifar10.html\n\n"
    "By a running server: triptych explain frog.jpg --server localhost:8500\n\n"
    "What each class looks like to it: triptych explain --model cifar10"
    " --method activation-maximization\n\n"
    "A dream: triptych explain photo.jpg --model cifar10 --method deep-dream --layer stages.7"
    " --option size=400\n\n"
    "One picture in another's style: triptych explain photo.jpg painting.jpg --model cifar10"
    " --method style-transfer\n\n"
    "What excites its filters: triptych explain --model cifar10 --method top-inputs --data photos/"
)
DEFAULT = "grad-cam"
FOR_A_CLASS, OF_ITSELF = "For a class", "The network itself"  # panels of options

Item = tuple[str, bytes | str]


def command(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="Pictures, sounds or texts.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL", help="A name in the repository, a version's folder, or a run's."
        ),
    ] = "",
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="One of the above; default grad-cam. Of those for a class several, each by"
            " another --method.",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="LABEL", help="Default: the top one. Of an attack: its target."
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER",
            help="Of methods that look at one; default: mostly the last with places. Of"
            " deep-dream several, separated by commas.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="May be given again.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The picture, or a folder for FILE.METHOD.png; default: this folder.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="A page over all inputs, and all methods unless named.",
            rich_help_panel=FOR_A_CLASS,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Of top-inputs and robustness: a known data set's name, a folder CLASS/FILE, or a"
            " table of texts.",
            rich_help_panel=OF_ITSELF,
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Of a known data set.", rich_help_panel=OF_ITSELF),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Of the method, as steps=64, units=3,5, epsilon=8 or size=400; may be given"
            " again. A wrong KEY is answered with those that the method takes.",
            rich_help_panel=OF_ITSELF,
        ),
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="NAME/VERSION/; default model_repository."),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Ask a running server, by grad-cam, grad-cam++, cam or saliency; --model is one"
            " of its own.",
            rich_help_panel=FOR_A_CLASS,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the values, or a report's figures.")
    ] = False,
) -> None:
    """Show what in an input speaks for a class, or what the network itself looks for.

    [bold]For a class[/bold], in each file or text: saliency, smoothgrad,
    guided-backprop, integrated-gradients, occlusion, cam, grad-cam,
    grad-cam++, score-cam. A sound's picture has a WAV beside it: what
    counts, alone.

    [bold]The network itself[/bold], one picture: filters, feature-maps,
    top-inputs, activation-maximization, fgsm, pgd, robustness, deep-dream,
    style-transfer, receptive-field, deconvnet, checkerboard.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    methods = method or []
    made = explain_synthesis.method_of(methods)
    options = dict(key_value(each) for each in option or [])
    if not made and (data is not None or data_dir is not None or option):
        fail(f"--data, --data-dir and --option are of {', '.join(explain_synthesis.METHODS)}", 2)
    if made and report is not None:
        fail(f"--report compares what speaks for a class, and {made} is another matter", 2)
    if server is not None:
        if made or report or layer:
            fail("a server explains classes by its own layers: leave out --server for the rest", 2)
        _by_server(
            server, model, files or [], text or [], methods or [DEFAULT], label, out, as_json
        )
        return
    if not model and made != "checkerboard":
        fail("which model? give --model, a name in the repository or a run's folder", 2)
    if not files and not text and not made:
        fail("nothing to explain: give files or --text (see --help)", 2)
    from pydantic import ValidationError

    from serving.errors import InvalidInput
    from serving.settings import Settings
    from serving.settings import explain as settings_error

    try:
        settings = Settings()
    except ValidationError as error:
        fail(settings_error(error), 2)
    with progress("Opening"):
        try:
            from pipelines.datasets import DatasetError
            from pipelines.explain.compare import bound
            from pipelines.explain.errors import ExplainError
            from pipelines.explain.network import open_network
        except ImportError as error:
            needed = "pip install 'triptych[cpu,explain]'"
            fail(f"explaining needs the extras: {needed} ({error})")
        try:
            for each in [] if made else methods:
                bound(each, layer)
            items = _items(files or [], text or [])
            if made:
                asked = explain_synthesis.Asked(made, items, layer, label, data, data_dir, options)
                explain_synthesis.check(asked, out)
            folder = repository or settings.repository
            network = open_network(model, folder, settings.limits) if model else None
        except (ExplainError, InvalidInput) as error:
            fail(error)
    try:
        if made:
            with progress(made):
                done = explain_synthesis.make(asked, network)
            explain_synthesis.write(done, made, out, as_json)
        elif report is not None:
            comparison = _report(network, items, methods, label, layer, report)
            _show(comparison, report, as_json)
        else:
            _pictures(network, items, methods or [DEFAULT], label, layer, out, as_json)
    except (DatasetError, ExplainError, InvalidInput, OSError) as error:
        fail(error)


def _by_server(
    server: str,
    model: str,
    files: list[Path],
    texts: list[str],
    methods: list[str],
    label: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    from serving.errors import InvalidInput
    from triptych.explain_by_server import ask

    if not files and not texts:
        fail("nothing to explain: give files or --text (see --help)", 2)
    try:
        items = _items(files, texts)
    except InvalidInput as error:
        fail(error)
    target = _targets(out, len(items) * len(methods), as_json)
    ask(server, model, items, methods, label, target, as_json)


def _targets(out: Path | None, pictures: int, as_json: bool) -> Callable[[str, str], Path | None]:
    """Where the picture of an input, by a method, goes; None: it is not drawn."""
    folder = None if as_json else Path()
    if out is not None:
        folder = out if out.is_dir() else None
    if out is not None and folder is None and pictures > 1:
        fail(f"--out {out} is no folder: name one for many pictures, or take --report", 2)
    taken: set[Path] = set()
    return lambda name, method: folder / _free_name(name, method, taken) if folder else out


def _items(files: list[Path], texts: list[str]) -> list[Item]:
    from serving.errors import InvalidInput

    items: list[Item] = []
    for path in files:
        try:
            items.append((str(path), path.read_bytes()))
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    return [*items, *((each, each) for each in texts)]


def _pictures(
    network: "Network",
    items: list[Item],
    methods: list[str],
    label: str | None,
    layer: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    from pipelines.explain.compare import bound, chosen_class
    from serving.errors import InvalidInput

    target_of = _targets(out, len(items) * len(methods), as_json)
    with progress("Explaining", len(items) * len(methods)) as bar:
        for name, item in items:
            try:
                example = network.example(item)
            except InvalidInput as error:
                raise InvalidInput(f"{name}: {error}") from error
            class_id = chosen_class(network, example, label)
            for method in methods:
                explanation = bound(method, layer)(network, example, class_id)
                bar.advance()
                target = target_of(name, method)
                written = _write(network, item, example, explanation, target) if target else []
                if as_json:
                    typer.echo(json.dumps(_as_json(name, explanation), ensure_ascii=False))
                else:
                    said = f"{explanation.label} {explanation.score:.3f}"
                    typer.echo(f"{', '.join(map(str, written))}  {method}, {said}")
    if not as_json:
        hint("next: --class LABEL explains another one; --report FILE.html compares all methods")


def _write(
    network: "Network", item: bytes | str, example: Any, explanation: "Explanation", path: Path
) -> list[Path]:
    from pipelines.explain.pictures import audio, draw
    from pipelines.whole_file import write_file

    write_file(path, draw(network, item, example, explanation))
    if network.domain != "audio":
        return [path]
    kept = audio.kept_part(network, network.inputs.decode(item), explanation)
    sound = path.with_suffix(".wav")
    if sound.exists() and sound.read_bytes() == item:
        fail(
            f"{sound} is the input itself, and the part that counts would be written there:"
            " name another picture by --out",
            2,
        )
    write_file(sound, audio.wav(kept, network.inputs.spec.audio.sample_rate_hz))
    return [path, sound]


def _free_name(name: str, method: str, taken: set[Path]) -> Path:
    """After the file or the text, short, and of this run no other picture's."""
    stem = Path(name).stem if len(name) < 256 and Path(name).is_file() else name
    stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in stem)[:40].strip("-") or "text"
    endings = chain([""], (f"-{number}" for number in count(2)))
    names = (Path(f"{stem}{ending}.{method}.png") for ending in endings)
    target = next(path for path in names if path not in taken)
    taken.add(target)
    return target


def _as_json(name: str, explanation: "Explanation") -> dict[str, Any]:
    return {
        "input": name,
        "method": explanation.method,
        "class": explanation.label,
        "class_id": explanation.class_id,
        "score": explanation.score,
        "layer": explanation.layer or None,
        "delta": explanation.delta,
        "shape": list(explanation.values.shape),
        "values": explanation.values.tolist(),
    }


def _report(
    network: "Network",
    items: list[Item],
    methods: list[str],
    label: str | None,
    layer: str | None,
    path: Path,
) -> "Comparison":
    from pipelines.explain import METHODS
    from pipelines.explain.compare import compare
    from pipelines.explain.report import write_report

    if not path.parent.is_dir():  # said now, and not after all the work
        fail(f"{path}: there is no folder {path.parent}; make it, or name another", 2)
    with progress("Comparing", len(items)) as bar:
        comparison = compare(network, items, methods or list(METHODS), label, layer, bar.advance)
    write_report(comparison, shlex.join(["triptych", *sys.argv[1:]]), path)
    return comparison


def _show(comparison: "Comparison", path: Path, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pipelines.explain.compare import as_dict

    if as_json:
        typer.echo(json.dumps(as_dict(comparison), ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", no_wrap=True)
    for column in ("ms", "deletion", "insertion", "sanity"):
        table.add_column(column, justify="right")
    for each in comparison.verdicts:
        table.add_row(
            each.method,
            "-" if each.milliseconds is None else f"{each.milliseconds:.0f}",
            f"{each.deletion:.3f}",
            f"{each.insertion:.3f}",
            f"{each.sanity[-1]:+.2f}" if each.sanity else "-",
        )
    console = Console()
    console.print(table)
    for reason in (*comparison.impossible.values(), *comparison.left_out.values()):
        console.print(Text(f"\n{reason}", style="yellow"))
    hint(f"next: open {path} in a browser")
