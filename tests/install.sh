#!/usr/bin/env bash
# Installs what the tests need beside Python: a real Redis, the real proxies, Node with the real Socket.IO client, and a
# real browser.
# Debian packages come by apt when missing and we are root; elsewhere it says what is missing.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v nginx >/dev/null || missing+=(nginx)
command -v haproxy >/dev/null || missing+=(haproxy)
command -v chromium >/dev/null || missing+=(chromium)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}"
    apt-get update -qq
    # RUNLEVEL=1: the packages' own services are not started; the tests start theirs.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    echo "the tests need: ${missing[*]}" >&2
    exit 1
  fi
fi

if [ ! -e js/node_modules/.installed ] || [ js/package-lock.json -nt js/node_modules/.installed ]; then
  (cd js && npm ci --silent --no-audit --no-fund && touch node_modules/.installed)
fi
