# The model server: what runs in users' pods. Dependencies, pinned by hash, sit in a layer below the project's own
# code, so that a change of code rebuilds two small layers.
ARG BASE=docker.io/library/python:3.11-slim

FROM ${BASE} AS venv
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
RUN python3.11 -m venv --without-pip /opt/penstock

FROM venv AS dependencies
COPY requirements/runtime.txt /src/requirements.txt
# The numeric libraries carry 46 MB of their own tests, which nothing imports at run time.
# unchecked-hash: the bytecode is right by construction, so starting compares no file times.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3.11 -m pip --python /opt/penstock/bin/python install -q --no-compile --no-deps --require-hashes --only-binary :all: \
      -r /src/requirements.txt \
 && cd /opt/penstock/lib/python3.11/site-packages \
 && find numpy pandas scipy sklearn -type d -name tests -prune -exec rm -r {} + \
 && /opt/penstock/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/penstock/lib

FROM venv AS project
COPY images/build-requirements.txt /src/
RUN --mount=type=cache,target=/root/.cache/pip \
    python3.11 -m venv --without-pip /opt/build \
 && python3.11 -m pip --python /opt/build/bin/python install -q --no-deps --require-hashes --only-binary :all: \
      -r /src/build-requirements.txt
COPY pyproject.toml README.md /src/
COPY operator/penstock /src/operator/penstock
COPY runtime/penstock_runtime /src/runtime/penstock_runtime
RUN cd /src \
 && /opt/build/bin/hatchling build -t wheel -d /src/dist \
 && python3.11 -m pip --python /opt/penstock/bin/python install -q --no-compile --no-deps --no-warn-script-location --no-index --root /out /src/dist/*.whl \
 && /opt/penstock/bin/python -m compileall -q --invalidation-mode unchecked-hash -s /out -p / /out/opt/penstock/lib

FROM ${BASE}
COPY --from=dependencies /opt/penstock /opt/penstock
COPY --from=project /out/ /
# LOGNAME: libraries ask who runs them, and a user that is only a number has no name.
ENV PATH=/opt/penstock/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    LOGNAME=penstock \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GIT_PYTHON_REFRESH=quiet \
    MLFLOW_DISABLE_TELEMETRY=true
# A number, so that the kubelet can check runAsNonRoot without reading /etc/passwd.
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/penstock/bin/penstock-serve"]
CMD ["serve"]
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="penstock-runtime" \
      org.opencontainers.image.description="Serves one version of an MLflow model, with metrics for Penstock's judgement." \
      org.opencontainers.image.source="https://github.com/penstock-dev/penstock" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
