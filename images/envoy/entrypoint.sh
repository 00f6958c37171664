#!/bin/sh
# Starts Envoy with the bootstrap next to it filled in, and lets it finish when it is asked to stop: it stops being
# ready, tells callers to go elsewhere, answers what it has begun, and only then ends. Writes no file.
#
#   POD_NAME                        name of this Envoy for the operator (required)
#   PENSTOCK_DISCOVERY_HOST, _PORT  the operator's discovery service (host required, 8081)
#   PENSTOCK_LOG_LEVEL              trace, debug, info, warning or error (warning)
#   PENSTOCK_DRAIN_SECONDS          how long to go on accepting, until no Service sends requests here any more (10)
#   PENSTOCK_DRAIN_MAX_SECONDS      how long to wait then for requests that are still being answered (60)
#   PENSTOCK_CONCURRENCY            worker threads (2)
#   PENSTOCK_MAX_CONNECTIONS        connections of callers accepted at a time (20000)
#   PENSTOCK_LISTEN_ADDRESS         address to listen on (0.0.0.0; :: where there is only IPv6)
#   PENSTOCK_HTTP_PORT, PENSTOCK_STATUS_PORT, PENSTOCK_ADMIN_PORT   8080, 9902, 9901
#   PENSTOCK_BOOTSTRAP, PENSTOCK_ENVOY   the bootstrap (/etc/envoy/bootstrap.yaml) and the program (envoy)
set -eu

fail() {
  echo "penstock-envoy: $1" >&2
  exit 64
}

# Prints a setting; refuses what would not be a plain word in the bootstrap.
setting() {
  case "$2" in
    '') fail "$1 is not set: set it in the container's environment" ;;
    *[!A-Za-z0-9.:_-]*) fail "$1 may contain letters, digits, dot, colon, dash and underscore only: correct it" ;;
  esac
  printf '%s' "$2"
}

node_id=$(setting POD_NAME "${POD_NAME:-}")
discovery_host=$(setting PENSTOCK_DISCOVERY_HOST "${PENSTOCK_DISCOVERY_HOST:-}")
discovery_port=$(setting PENSTOCK_DISCOVERY_PORT "${PENSTOCK_DISCOVERY_PORT:-8081}")
log_level=$(setting PENSTOCK_LOG_LEVEL "${PENSTOCK_LOG_LEVEL:-warning}")
drain=$(setting PENSTOCK_DRAIN_SECONDS "${PENSTOCK_DRAIN_SECONDS:-10}")
drain_max=$(setting PENSTOCK_DRAIN_MAX_SECONDS "${PENSTOCK_DRAIN_MAX_SECONDS:-60}")
concurrency=$(setting PENSTOCK_CONCURRENCY "${PENSTOCK_CONCURRENCY:-2}")
max_connections=$(setting PENSTOCK_MAX_CONNECTIONS "${PENSTOCK_MAX_CONNECTIONS:-20000}")
listen_address=$(setting PENSTOCK_LISTEN_ADDRESS "${PENSTOCK_LISTEN_ADDRESS:-0.0.0.0}")
http_port=$(setting PENSTOCK_HTTP_PORT "${PENSTOCK_HTTP_PORT:-8080}")
status_port=$(setting PENSTOCK_STATUS_PORT "${PENSTOCK_STATUS_PORT:-9902}")
admin_port=$(setting PENSTOCK_ADMIN_PORT "${PENSTOCK_ADMIN_PORT:-9901}")
program=${PENSTOCK_ENVOY:-envoy}

config=$(sed \
  -e "s/\${NODE_ID}/$node_id/" \
  -e "s/\${DISCOVERY_HOST}/$discovery_host/" -e "s/\${DISCOVERY_PORT}/$discovery_port/" \
  -e "s/\${LISTEN_ADDRESS}/$listen_address/" -e "s/\${MAX_CONNECTIONS}/$max_connections/" \
  -e "s/\${HTTP_PORT}/$http_port/" -e "s/\${STATUS_PORT}/$status_port/" -e "s/\${ADMIN_PORT}/$admin_port/" \
  "${PENSTOCK_BOOTSTRAP:-/etc/envoy/bootstrap.yaml}")

# One request to the admin interface. The image has no HTTP client; bash, which Debian always has, opens the connection.
admin() {
  bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" &&
    printf "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" "$2" "$3" >&3 &&
    cat <&3' admin "$admin_port" "$1" "$2" 2>/dev/null
}

alive() {
  kill -0 "$envoy" 2>/dev/null
}

# The requests being answered, 0 when Envoy no longer says.
active() {
  count=$(admin GET '/stats?filter=^http.ingress.downstream_rq_active$' |
    sed -n 's/^http\.ingress\.downstream_rq_active: \([0-9]*\).*/\1/p')
  echo "${count:-0}"
}

stop() {
  trap '' TERM INT
  # Not ready from here on, and every answer asks the caller to open its next connection elsewhere.
  admin POST /healthcheck/fail >/dev/null || true
  waited=0
  while [ "$waited" -lt "$drain" ] && alive; do
    sleep 1
    waited=$((waited + 1))
  done
  admin POST /drain_listeners >/dev/null || true
  waited=0
  while [ "$waited" -lt "$drain_max" ] && alive && [ "$(active)" -gt 0 ]; do
    sleep 1
    waited=$((waited + 1))
  done
  kill -TERM "$envoy" 2>/dev/null || true
}

"$program" --config-yaml "$config" --disable-hot-restart --concurrency "$concurrency" --log-level "$log_level" &
envoy=$!
trap stop TERM INT
code=0
wait "$envoy" || code=$?
# A signal ends `wait` early: what `stop` asked for is still to come.
while alive; do
  code=0
  wait "$envoy" || code=$?
done
exit "$code"
