"""One wire protocol, one file: translation only."""
