"""Data to artefact, artefact to answers. Serving knows nothing of this package."""
