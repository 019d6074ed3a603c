#!/usr/bin/env bash
# Builds the release binary and runs the benchmarks. Arguments go to bench.py: --peer, --long, --scale, --only.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked
case " $* " in *" --peer "*) benches/setup.sh ;; esac
exec python3 benches/bench.py "$@"
