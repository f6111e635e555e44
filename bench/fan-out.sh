#!/usr/bin/env bash
# What a publisher with eight subscriber nodes spends on a delivered message, and how much of it in sendmmsg and sendto: the same sealed bytes, the
# same receivers. Beside it `floor fan-out`, whose receivers read at once. Needs perf, python3, and root or kernel.perf_event_paranoid <= 0.
# usage: bench/fan-out.sh [SECONDS] [ROUNDS]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
bin=${CARGO_TARGET_DIR:-$root/target}/release
seconds=${1:-3} rounds=${2:-3}
[ "$seconds" -ge 2 ] || { echo "fan-out.sh: $seconds seconds are too few; give 2 or more" >&2; exit 2; }
command -v python3 > /dev/null || { echo "fan-out.sh: python3 is missing; install it" >&2; exit 2; }
command -v perf > /dev/null || { echo "fan-out.sh: perf is missing; install it (Debian: linux-perf)" >&2; exit 2; }
cargo build --release --quiet --manifest-path "$root/Cargo.toml" -p tidings-bench -p tidings-loadgen --bins
out=$(mktemp -d)
trap 'kill "${run:-}" 2> /dev/null || true; rm -rf "$out"' EXIT

printf '%-10s %10s %14s %14s %8s %16s\n' datagram 'M msg/s' 'CPU ns/msg' 'in sends' ratio 'floor ns/msg'
for ((round = 0; round < rounds; round++)); do
    for datagram in 1448 64992; do
        # The publisher is alone on CPU 0.
        "$bin/tidings-loadgen" fan-out --attach on-shard --subscribers 8 --size 64 --pin 0,1 --max-datagram "$datagram" \
            --seconds "$seconds" --format json > "$out/run" 2> "$out/run.err" &
        run=$!
        sleep 1.5
        perf record -q -a -C 0 -g -e cpu-clock -F 4000 -o "$out/perf" -- sleep "$((seconds - 1))" 2> "$out/perf.err" ||
            { cat "$out/perf.err" >&2; exit 1; }
        wait "$run" || { cat "$out/run.err" >&2; exit 1; }
        "$bin/floor" fan-out --datagram "$datagram" --messages $(((datagram - 48) / 72)) --pin 0,1 --seconds "$seconds" --json > "$out/floor"
        perf script -i "$out/perf" -F comm,ip,sym 2> /dev/null | python3 -c '
import json, sys
out, datagram = sys.argv[1:]
every = sending = 0
for sample in sys.stdin.read().split("\n\n"):
    comm, *stack = sample.strip("\n").split("\n")
    if comm.startswith("tidings"):
        every += 1
        sending += any("sendmmsg" in frame or "sendto" in frame for frame in stack)
run, floor = (json.load(open(f"{out}/{name}")) for name in ("run", "floor"))
rate = run["window"]["rate"]
cpu = run["processes"][0]["cores"] * 1e9 / rate
print("%-10s %10.1f %14.1f %13.0f%% %8.2f %16.1f" % (datagram, rate / 1e6, cpu, 100 * sending / max(every, 1), every / max(sending, 1),
    floor["delivered_message_cpu_ns"]))
' "$out" "$datagram"
    done
done
