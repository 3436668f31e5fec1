"""The one exception of this package: the data cannot be used."""


class DatasetError(Exception):
    """The data cannot be used as it is.  The message names the input, the reason, the next step."""
