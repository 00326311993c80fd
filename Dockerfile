# The exporter, and nothing that only building it needs. `docker build -t netvol-exporter:local .` makes it.
# No BuildKit feature is used, so that every builder can.

# Pinned by tag; append @sha256:... to pin the very bytes. The tests run on this version of Python.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# Where pip finds the packages, if not where it usually does. Their hashes are checked in any case.
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/netvol-exporter
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN /opt/build/bin/pip install --require-hashes -r requirements/build.txt \
    && /opt/build/bin/pip --python /opt/netvol-exporter/bin/python install --no-compile --require-hashes \
        -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
# Byte code that is not compared with its source: nobody changes either.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/build/bin/pip --python /opt/netvol-exporter/bin/python install --no-compile --no-deps dist/*.whl \
    && /opt/netvol-exporter/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/netvol-exporter/lib

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/netvol-exporter /opt/netvol-exporter
ENV PATH=/opt/netvol-exporter/bin:$PATH
# The base has no byte code of Python's own library, and in a read-only container none can be written: what the
# exporter imports is compiled here once instead of at every start.
RUN netvol-exporter --version && python -m exporter.healthy --version

ARG VERSION=0.1.0
ARG REVISION
ARG PYTHON_IMAGE
ENV NETVOL_EXPORTER_REVISION=$REVISION
LABEL org.opencontainers.image.title="netvol-exporter" \
    org.opencontainers.image.description="Prometheus exporter for Docker networks and volumes" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.base.name="docker.io/library/$PYTHON_IMAGE"

# Nobody in particular: the engine's socket is opened by a group that `docker run --group-add` gives.
USER 10420:10420
EXPOSE 10420
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=60s --timeout=5s --start-period=30s CMD ["python", "-m", "exporter.healthy"]
ENTRYPOINT ["netvol-exporter"]
