#!/bin/sh
# The tests of both sides of the boundary, and of libraries in C, under AddressSanitizer with its search for leaks. It needs
# a nightly toolchain; what lives as long as the process on purpose is not a leak.
set -e
cd "$(dirname "$0")/.."
export RUSTFLAGS="-Zsanitizer=address" RUSTDOCFLAGS="-Zsanitizer=address" CARGO_INCREMENTAL=0
suppressions=$(mktemp)
trap 'rm -f "$suppressions"' EXIT
cat > "$suppressions" <<'END'
leak:levada_plugin::guest::class_ffi::export
leak:levada_plugin::loopback_ffi::through_table
leak:levada_plugin::host::plugin::add_to
END
export LSAN_OPTIONS="suppressions=$suppressions:print_suppressions=0"
build="cargo +nightly test --target x86_64-unknown-linux-gnu --target-dir target/asan"
$build -p levada-plugin --lib
$build -p levada-plugin-loader --test balance
