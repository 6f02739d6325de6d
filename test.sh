#!/usr/bin/env bash
# Installs what the tests need, and runs all of them. Debian, as root, with Rust's toolchain.
set -euo pipefail
cd "$(dirname "$0")"

step() { printf '\n== %s (%ss) ==\n' "$1" "$SECONDS"; }

step "install"
./e2e/setup.sh
if ! cargo deny --version >/dev/null 2>&1; then
  cargo install cargo-deny --locked --quiet
fi

step "format, lints, docs, house rules, licences"
cargo xtask check

step "the client: types, and what needs no browser"
(cd e2e && npm run sdk)

step "unit, interop and property tests, seeds of the fuzzers"
cargo test --workspace --locked

step "models of the rings (loom)"
cargo xtask loom

step "release build"
cargo build --release --locked -p sfumato -p sfumato-loadtest
cargo build --locked -p sfumato-whip-conformance

step "a short load (the bot swarm)"
SFUMATO_BIN=target/release/sfumato SFUMATO_LOADTEST_BIN=target/release/sfumato-loadtest ./loadtest/ci.sh

step "a slice of the hostile run (attackers beside the swarm)"
target/release/sfumato-hostile --slice --node target/release/sfumato --json target/hostile/report.json

step "WHIP and WHEP conformance"
./e2e/conformance.sh

step "real browsers and ffmpeg"
(cd e2e && SFUMATO_BIN="$PWD/../target/release/sfumato" npm test)

step "done"
