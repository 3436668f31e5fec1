"""Pages of HTML that read by themselves: how their templates are read."""

from pathlib import Path

import jinja2


def templates(folder: Path) -> jinja2.Environment:
    """What is put into a page is escaped, and what it names and is not given is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
