#!/usr/bin/env bash
# Builds the programs of clients/ that the tests do not need: Pion, aiortc and webrtc-rs.
# ../setup.sh comes first. May be run again and again; needs root for apt. What cannot be had is said, and left out.
set -uo pipefail
cd "$(dirname "$0")"
out=$(cd ../.. && pwd)/target/clients
mkdir -p "$out"

step() { # name, command..
    local name=$1
    shift
    if "$@" >"$out/$name.log" 2>&1; then echo "$name: ready"; else echo "$name: not to be had here, see $out/$name.log"; fi
}

pion() {
    if ! [ -d /usr/share/gocode/src/github.com/pion/webrtc ] || ! command -v go >/dev/null; then
        DEBIAN_FRONTEND=noninteractive apt-get update && apt-get install -y --no-install-recommends golang-go golang-github-pion-webrtc.v3-dev || return
    fi
    # Without modules Go finds `webrtc/v3` only from a directory in GOPATH that has a go.mod.
    rm -rf "$out/gopath" && mkdir -p "$out/gopath/src/pion-client" && cp pion/*.go pion/go.mod "$out/gopath/src/pion-client/" || return
    (cd "$out/gopath/src/pion-client" && GO111MODULE=off GOPATH="$out/gopath:/usr/share/gocode" GOCACHE="$out/gocache" go build -o "$out/pion-client" .)
}

aiortc() {
    [ -x "$out/aiortc/bin/python" ] || python3 -m venv "$out/aiortc" || return
    "$out/aiortc/bin/python" -c 'import importlib.metadata as m; exit(m.version("aiortc") != "1.16.0")' 2>/dev/null || "$out/aiortc/bin/pip" install --quiet aiortc==1.16.0
}

webrtc_rs() {
    CARGO_TARGET_DIR="$out/webrtc-rs" cargo build --locked --manifest-path webrtc-rs/Cargo.toml
}

step pion pion
step aiortc aiortc
step webrtc-rs webrtc_rs
