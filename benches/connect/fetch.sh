#!/usr/bin/env bash
# Brings Kafka Connect and Debezium's JDBC sink from Maven Central into FOLDER, once: libs/, plugins/.
#     fetch.sh FOLDER
set -euo pipefail
[[ $# == 1 && $1 != -* ]] || { echo "usage: ${0##*/} FOLDER" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
[[ -d $1 ]] && exit 0
copy() { # POM FOLDER
    mvn -B -q --strict-checksums -f "$1" \
        org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$2"
}
target=$(mkdir -p "$(dirname "$1")" && cd "$(dirname "$1")" && pwd)/$(basename "$1")
new=$target.new
rm -rf "$new"
copy "$here/pom.xml" "$new/libs"
copy "$here/jdbc.xml" "$new/plugins/jdbc"
mkdir -p "$new/plugins/file"
mv "$new"/libs/connect-file-*.jar "$new/plugins/file"
# What the worker brings must not be there twice.
cd "$new/plugins/jdbc"
rm -f jackson-core-* jackson-databind-* jackson-annotations-* connect-api-* kafka-clients-* slf4j-api-* lz4-java-* \
    snappy-java-* zstd-jni-* jakarta.ws.rs-api-*
mv "$new" "$target"
