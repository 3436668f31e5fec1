"""Files that are whole or not there: who is cut off, or has no room, leaves no half of one."""

import os
from pathlib import Path


def write_file(path: Path, content: bytes | str) -> None:
    """Text in UTF-8, and of what is no Unicode, as a file's name may be, Python's escapes.

    What is no plain file, as a pipe, is written to as it is.

    Raises: OSError, saying which file cannot be written and why. What was there is there still.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        target = path.resolve()  # a link goes on to lead where it did
        temporary = target.with_name(f".{target.name}.tmp")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}") from error
