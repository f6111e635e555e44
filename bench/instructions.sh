#!/usr/bin/env bash
# Instructions of each hot step, counted by callgrind, against the committed baseline bench/instructions.json.
# usage: bench/instructions.sh [check|bless]; needs valgrind and gungraun-runner, and installs what is not there.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-check}
case $mode in check | bless) ;; *)
    echo "bench/instructions.sh: '$mode' is neither check nor bless" >&2
    exit 2
    ;;
esac
if ! command -v valgrind >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends valgrind >/dev/null || true
    fi
    command -v valgrind >/dev/null || {
        echo "bench/instructions.sh: valgrind is not installed and cannot be: instructions cannot be counted. As root: apt-get install valgrind" >&2
        exit 1
    }
fi
# Runner and crate must be of one version.
version=$(sed -n '/^name = "gungraun"$/{n;s/.*"\(.*\)"/\1/p}' Cargo.lock)
tools=${CARGO_TARGET_DIR:-target}/tools
export GUNGRAUN_RUNNER=$tools/bin/gungraun-runner
if [ "$("$GUNGRAUN_RUNNER" --version 2>/dev/null)" != "gungraun-runner $version" ]; then
    cargo install --quiet gungraun-runner --version "$version" --locked --root "$tools"
fi
[ "${tools#/}" != "$tools" ] || GUNGRAUN_RUNNER=$PWD/$GUNGRAUN_RUNNER
out=$(mktemp)
trap 'rm -f "$out"' EXIT
# Counts depend on what the compiler was told.
env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_RUSTFLAGS \
    cargo bench --quiet -p tidings-bench --bench instructions -- --output-format=json >"$out"
options=()
[ "$mode" = check ] || options=(--bless)
cargo run --quiet -p tidings-bench --bin instructions -- "${options[@]}" "$out"
