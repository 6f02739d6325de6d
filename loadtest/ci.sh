#!/usr/bin/env bash
# A short run of the swarm against a node of its own, with thresholds: loadtest/scenarios/ci.toml.
#
# Usage: loadtest/ci.sh [OUTPUT_DIRECTORY [FLAG...]]
# SFUMATO_BIN and SFUMATO_LOADTEST_BIN name the binaries; without them they are built (release). The reports (JSON, HTML,
# text) and the node's log are left in the output directory, target/loadtest by default. Flags go to the swarm:
# `loadtest/ci.sh out --fail-if 'packets > 0'` shows that the run can fail.
#
# Exit codes are those of the swarm, and 1 when the node panicked, died or did not stop in order.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/target/loadtest}
target=${CARGO_TARGET_DIR:-$root/target}
shift $(($# > 0 ? 1 : 0))
mkdir -p "$out"

if [ -z "${SFUMATO_BIN:-}" ] || [ -z "${SFUMATO_LOADTEST_BIN:-}" ]; then
    (cd "$root" && cargo build --release -p sfumato -p sfumato-loadtest)
fi
node_bin=${SFUMATO_BIN:-$target/release/sfumato}
swarm_bin=${SFUMATO_LOADTEST_BIN:-$target/release/sfumato-loadtest}

# A free port: the node says which one it has. All bots come from one address, so its limits on requests are off.
"$node_bin" demo --listen 127.0.0.1:0 --media-port 0 \
    --set http.requests_per_second=0 --set http.token_requests_per_second=0 >"$out/node.log" 2>&1 &
node=$!
trap 'kill "$node" 2>/dev/null || true; wait "$node" 2>/dev/null || true' EXIT

address=
for _ in $(seq 100); do
    address=$(sed -nE 's/.*\bhttp=([0-9.]+:[0-9]+).*/\1/p' "$out/node.log" | head -1)
    [ -n "$address" ] && break
    kill -0 "$node" 2>/dev/null || break
    sleep 0.1
done
[ -n "$address" ] || { echo "ci.sh: the node did not start:" >&2; cat "$out/node.log" >&2; exit 2; }

code=0
"$swarm_bin" "$root/loadtest/scenarios/ci.toml" --server "http://$address" --server-pid "$node" \
    --json "$out/report.json" --html "$out/report.html" "$@" | tee "$out/report.txt" || code=$?

broken() { echo "ci.sh: $1:" >&2; tail -20 "$out/node.log" >&2; exit 1; }
kill -0 "$node" 2>/dev/null || broken "the node died"
kill "$node"
stopped=0
wait "$node" || stopped=$?
trap - EXIT
[ "$stopped" = 0 ] || broken "the node stopped with exit code $stopped"
! grep -q "panicked at" "$out/node.log" || broken "the node panicked"
echo "reports: $out"
exit "$code"
