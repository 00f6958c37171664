# For development only: Debian's Prometheus where docker.io/prom/prometheus cannot be pulled.
ARG BASE=docker.io/library/python:3.11-slim
ARG RUN_BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS prometheus
# Only the program: the package's service, consoles and JavaScript have no use here.
RUN apt-get update -q \
 && cd /tmp \
 && apt-get download -q prometheus \
 && dpkg -x prometheus_*.deb /src \
 && install -D -m 0755 /src/usr/bin/prometheus /out/usr/bin/prometheus

FROM ${RUN_BASE}
COPY --from=prometheus /out/ /
USER 65532:65532
EXPOSE 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/prometheus"]
LABEL org.opencontainers.image.title="penstock-prometheus" \
      org.opencontainers.image.description="Prometheus, for development of Penstock."
