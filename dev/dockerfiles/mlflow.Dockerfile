# For development only: an MLflow tracking server where ghcr.io/mlflow/mlflow cannot be pulled.
ARG BASE=docker.io/library/python:3.11-slim

FROM ${BASE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
RUN python3.11 -m venv --without-pip /opt/mlflow
COPY requirements/mlflow-server.txt /src/requirements.txt
# The numeric libraries carry 49 MB of their own tests, which nothing imports at run time.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3.11 -m pip --python /opt/mlflow/bin/python install -q --no-compile --no-deps --require-hashes --only-binary :all: \
      -r /src/requirements.txt \
 && cd /opt/mlflow/lib/python3.11/site-packages \
 && find numpy pandas scipy sklearn pyarrow -type d -name tests -prune -exec rm -r {} + \
 && /opt/mlflow/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/mlflow/lib

FROM ${BASE}
COPY --from=dependencies /opt/mlflow /opt/mlflow
ENV PATH=/opt/mlflow/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    LOGNAME=mlflow \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GIT_PYTHON_REFRESH=quiet
USER 65532:65532
EXPOSE 5000
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/mlflow/bin/mlflow"]
CMD ["server"]
LABEL org.opencontainers.image.title="penstock-mlflow" \
      org.opencontainers.image.description="An MLflow tracking server, for development of Penstock."
