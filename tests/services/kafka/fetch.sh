#!/usr/bin/env bash
# Brings Apache Kafka's jars from Maven Central into FOLDER, once: 55 MB. Maven checks their checksums.
#     fetch.sh FOLDER
set -euo pipefail
[[ $# == 1 ]] || { echo "usage: ${0##*/} FOLDER" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$(dirname "$1")"
target=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
# Test binaries may start at the same time: the first one brings them, the others wait.
exec 9>"$target.lock"
flock 9
[[ -d $target ]] && exit 0
rm -rf "$target.new"
mvn -B -q --strict-checksums -f "$here/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$target.new"
mv "$target.new" "$target"
