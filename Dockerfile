# Two stages: uv and its cache stay in the first one.
FROM python:3.11-slim-bookworm AS build
RUN python3 -m venv /uv && /uv/bin/pip install --quiet uv==0.13.9
WORKDIR /app
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=0 UV_PYTHON=/usr/local/bin/python3
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN --network=host /uv/bin/uv sync --locked --no-dev --extra cpu --no-install-project \
 && find .venv -name tests -type d -prune -exec rm -rf {} + \
 && rm -rf .venv/lib/python*/site-packages/tensorflow/include
COPY protos protos
COPY serving serving
COPY triptych triptych
