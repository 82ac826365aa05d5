# syntax=docker/dockerfile:1
# Two images from one file:
#   docker build --target serve -t encore:serve .    API and consumer: no training library inside
#   docker build --target train -t encore:train .    worker, beat, migrations and every command
# Both run as uid 10001 with a read-only root: writable are /tmp and /var/lib/encore only.
#   Both names can be given another base with Python 3.11 or newer: --build-arg BASE=localhost/python:3.11
ARG BASE=docker.io/library/python:3.12.12-slim-bookworm

FROM ${BASE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1
WORKDIR /build
COPY requirements/bootstrap.txt requirements/
RUN python3 -m venv /opt/tools && /opt/tools/bin/python -m pip install --require-hashes -r requirements/bootstrap.txt

FROM tools AS wheel
COPY pyproject.toml README.md ./
COPY app app
COPY alembic alembic
RUN /opt/tools/bin/python -m hatchling build -t wheel

FROM tools AS build-serve
COPY requirements/serving.txt requirements/
RUN python3 -m venv --without-pip /opt/encore \
 && /opt/tools/bin/uv pip install --compile-bytecode --python /opt/encore/bin/python --require-hashes -r requirements/serving.txt
COPY --from=wheel /build/dist dist
RUN /opt/tools/bin/uv pip install --compile-bytecode --python /opt/encore/bin/python --no-deps dist/*.whl

FROM tools AS build-train
# hadolint ignore=DL3008 # the compiler stays in this stage; Debian keeps only the newest version of a package
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY requirements/runtime.txt requirements/
# LightFM is compiled here, for any processor of this kind, with the tools pinned in bootstrap.txt.
ENV LIGHTFM_NO_CFLAGS=1
RUN python3 -m venv --without-pip /opt/encore \
 && /opt/tools/bin/uv pip install --compile-bytecode --python /opt/encore/bin/python --require-hashes -r requirements/bootstrap.txt \
 && /opt/tools/bin/uv pip install --compile-bytecode --python /opt/encore/bin/python --require-hashes \
      --no-build-isolation-package rectools-lightfm -r requirements/runtime.txt \
 && /opt/tools/bin/uv pip uninstall --python /opt/encore/bin/python uv hatchling editables
COPY --from=wheel /build/dist dist
RUN /opt/tools/bin/uv pip install --compile-bytecode --python /opt/encore/bin/python --no-deps dist/*.whl

FROM ${BASE} AS base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Encore" \
      org.opencontainers.image.description="A recommendation service" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/encore/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp ENCORE_HOST=0.0.0.0
RUN groupadd --gid 10001 encore \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin encore \
 && install --directory --owner=10001 --group=10001 /var/lib/encore
# Relative paths in settings (./var/…) end up here.
WORKDIR /var/lib/encore
EXPOSE 8080
# Docker's STOPSIGNAL is SIGTERM: readiness turns red, requests end, then the process does.
ENTRYPOINT ["encore"]
CMD ["serve"]

FROM base AS train
# hadolint ignore=DL3008 # the OpenMP runtime LightFM was compiled against; the base image pins the Debian release
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=build-train /opt/encore /opt/encore
USER 10001:10001

# The last stage is what `docker build .` makes.
FROM base AS serve
COPY --from=build-serve /opt/encore /opt/encore
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health/live', timeout=2)"]
