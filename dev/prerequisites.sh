#!/usr/bin/env bash
# The Debian packages that tests start as processes. As root they are installed, otherwise named.
set -euo pipefail
packages=()
command -v prometheus >/dev/null || packages+=(prometheus)
[ ${#packages[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing: ${packages[*]}. On Debian: sudo apt-get install ${packages[*]}" >&2
  exit 1
fi
echo "installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
# The package starts a server of its own; the tests start theirs.
apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1 ||
  { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null; }
