#!/usr/bin/env bash
# Looks for inputs that break a property: `fuzz/run.sh [TARGET...]`, all targets without an argument, one after the other.
#
# Needs the nightly toolchain and `cargo install cargo-fuzz`. Begins with the committed corpus; what is found goes to
# fuzz/found/TARGET, what fails to fuzz/artifacts/TARGET. From the environment:
#   RUNS       executions of each target instead of those below
#   SECONDS_MAX  longest time of each target in seconds, 1200
#   SANITIZER  none (the default: two to five times as fast), or address
set -euo pipefail
cd "$(dirname "$0")"

# Target, executions, longest input. Plain decoders get 10^8, what holds state or is compared with an oracle 10^6.
table="
digests      100000000 512
datagrams    100000000 512
frames       100000000 512
keyrings     100000000 512
windows        1000000 256
topics         1000000 256
ranges         1000000 256
outstanding    1000000 256
acks           1000000 256
reassembly     1000000 512
handshake      1000000 512
insider        1000000 1024
cores          1000000 512
config       100000000 512
"

sanitizer=${SANITIZER:-none}
while read -r target runs len; do
    [[ -n $target ]] || continue
    [[ $# -eq 0 || " $* " == *" $target "* ]] || continue
    mkdir -p "found/$target"
    echo "== $target: ${RUNS:-$runs} executions, $(git rev-parse --short HEAD)"
    # The daemon's own files need most of the workspace.
    features=()
    [[ $target != config ]] || features=(--features daemon)
    cargo +nightly fuzz run --fuzz-dir . "${features[@]}" -O -a -s "$sanitizer" "$target" "found/$target" "corpus/$target" -- \
        -runs="${RUNS:-$runs}" -max_total_time="${SECONDS_MAX:-1200}" -max_len="$len" -print_final_stats=1 </dev/null
done <<<"$table"
