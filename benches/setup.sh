#!/usr/bin/env bash
# Makes the peer's virtual environment: pyspark from PyPI. It needs Java 17 or later on the machine.
set -euo pipefail
cd "$(dirname "$0")"
venv=${BENCH_VENV:-../target/bench/venv}
if ! command -v java >/dev/null && [ -z "${JAVA_HOME:-}" ]; then
    echo "Java 17 or later is missing: 'apt-get install openjdk-17-jre-headless'" >&2
    exit 1
fi
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet 'pyspark==4.1.*'
"$venv/bin/python" -c 'import pyspark; print("pyspark", pyspark.__version__)'
