#!/usr/bin/env bash
# One stream over a far and bad path beside one TCP connection (CUBIC) on the same path: 1 Gbit/s, 20 ms there and back, in a lab of
# two hosts. Needs root and python3. Prints megabits of payload a second, in messages of 1 KiB.
# usage: bench/far.sh [SECONDS]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
bin=${CARGO_TARGET_DIR:-$root/target}/release
seconds=${1:-8}
[ "$(id -u)" = 0 ] || { echo "far.sh: making network namespaces needs root; run it as root" >&2; exit 2; }
cargo build --release --quiet --manifest-path "$root/Cargo.toml" -p tidings-tests --bin lab -p tidings-loadgen --bin tidings-loadgen
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export FAR_BIN=$bin FAR_ROOT=$root FAR_OUT=$out FAR_SECONDS=$seconds FAR_WARMUP=3

# On host 1 and on host 2, each what it is told by FAR_WITH: stream, tcp, idle.
cat > "$out/host" <<'HOST'
loadgen() { # name, scenario, port, more
    local name=$1 scenario=$2 port=$3 role
    shift 3
    if [ "$TIDINGS_LAB_SELF" = 1 ]; then
        role=(--role subscribe --bind "10.77.0.1:$port")
    else
        role=(--role publish --bind "10.77.0.2:$port" --join "10.77.0.1:$port")
    fi
    "$FAR_BIN/tidings-loadgen" "$scenario" "${role[@]}" --seconds "$FAR_SECONDS" --warmup "$FAR_WARMUP" --drain 30 --format json "$@" \
        > "$FAR_OUT/$name-$TIDINGS_LAB_SELF" 2> "$FAR_OUT/$name-$TIDINGS_LAB_SELF.err"
}
tcp() {
    if [ "$TIDINGS_LAB_SELF" = 1 ]; then
        python3 "$FAR_ROOT/bench/tcp.py" receive 5001 "$FAR_WARMUP" "$FAR_SECONDS" > "$FAR_OUT/tcp"
    else
        python3 "$FAR_ROOT/bench/tcp.py" send 10.77.0.1 5001 $((FAR_WARMUP + FAR_SECONDS + 1))
    fi
}
case $FAR_WITH in *stream*) loadgen stream throughput 7500 --size 1024 & ;; esac
case $FAR_WITH in *tcp*) tcp & ;; esac
case $FAR_WITH in *idle*) loadgen idle latency 7600 --rate 50 & ;; esac
wait
HOST

report() { # file, expression over the report `d`
    python3 -c "
import json, sys
d = json.load(open(sys.argv[1]))
print($2)" "$out/$1"
}
row() { # title, what runs, impairment
    local title=$1 with=$2
    shift 2
    rm -f "$out"/stream-* "$out"/idle-* "$out/tcp"
    if ! FAR_WITH=$with timeout $((seconds + 60)) "$bin/lab" --delay 10ms --rate 1gbit --queue 4m "$@" --each -- bash "$out/host" \
        > "$out/lab" 2>&1; then
        tail -n 5 "$out/lab" "$out"/*.err >&2 || true
        exit 1
    fi
    local stream=- tcp=- idle=-
    case $with in *stream*) stream=$(report stream-1 "'%.1f' % (d['window']['rate'] * 1024 * 8e-6)") ;; esac
    case $with in *tcp*) tcp=$(cat "$out/tcp") ;; esac
    case $with in *idle*) idle=$(report idle-1 "'%.1f' % (d['received']['latency']['p99'] / 1e6)") ;; esac
    printf '| %-44s | %8s | %8s | %8s |\n' "$title" "$stream" "$tcp" "$idle"
}
printf '| %-44s | %8s | %8s | %8s |\n' "path: 1 Gbit/s, 20 ms" "Tidings" "TCP" "p99 ms"
echo '|---|---|---|---|'
row "1 % loss, alone" stream --loss 1%
row "1 % loss, alone" tcp --loss 1%
row "1 % loss, both" stream+tcp --loss 1%
row "no loss, alone" stream
row "no loss, alone" tcp
row "no loss, both" stream+tcp
row "25 % of datagrams overtake others" stream --ahead 25%
row "1 % loss, and a stream of 50 messages/s" stream+idle --loss 1%
row "no loss, and a stream of 50 messages/s" stream+idle
