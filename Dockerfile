# Serving and batch jobs only: no CUDA, nothing that trains. uv and pip stay in the first stage.
FROM python:3.11-slim-bookworm AS build
RUN python3 -m venv /uv && /uv/bin/pip install --quiet --no-cache-dir uv==0.13.9
WORKDIR /app
# Compiled here, as a read-only container cannot keep what it compiles.
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 UV_PYTHON=/usr/local/bin/python3
# The dependencies are a layer of their own, made anew only when the lock changes.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN /uv/bin/uv sync --locked --no-dev --extra cpu --extra batch --no-install-project \
 && rm -rf .venv/lib/python*/site-packages/tensorflow/include
COPY protos protos
COPY models models
COPY pipelines pipelines
COPY serving serving
COPY triptych triptych
RUN /uv/bin/uv sync --locked --no-dev --extra cpu --extra batch --no-editable --inexact

FROM python:3.11-slim-bookworm
COPY --from=build /app/.venv /app/.venv
# A volume at /cache takes its owner from here, and keeps what was compiled and measured.
RUN useradd --system --uid 10001 --no-create-home triptych \
 && install --directory --owner triptych --mode 0700 /cache
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TRIPTYCH_CACHE=/cache \
    TRIPTYCH_HOST=0.0.0.0 \
    TRIPTYCH_REPOSITORY=/models
USER triptych
EXPOSE 8500 8501
ENTRYPOINT ["triptych"]
CMD ["serve"]
