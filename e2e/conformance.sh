#!/usr/bin/env bash
# Holds a node of our own, on free ports, against the WHIP and WHEP conformance suite.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
# Requests come fast here, on purpose: the limits have tests of their own.
target/release/sfumato demo --listen 127.0.0.1:0 --media-port 0 \
  --set http.requests_per_second=0 --set http.token_requests_per_second=0 >"$log" 2>&1 &
node=$!
trap 'kill "$node" 2>/dev/null; wait "$node" 2>/dev/null; rm -f "$log"' EXIT
for _ in $(seq 100); do
  url=$(grep -o 'http://127\.0\.0\.1:[0-9]*' "$log" | head -n 1 || true)
  [ -n "$url" ] && break
  sleep 0.1
done
[ -n "${url:-}" ] || { cat "$log"; exit 1; }
target/debug/whip-conformance "$url/whip/conformance" --whep "$url/whep/conformance"
