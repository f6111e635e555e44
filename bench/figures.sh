#!/usr/bin/env bash
# The first figures of tuning.md: floor and every way to attach, alternately, medians of ROUNDS rounds.
# usage: bench/figures.sh [ROUNDS] [SECONDS]; wants release builds of tidings, tidings-loadgen and floor.
set -u
rounds=${1:-3} seconds=${2:-2}
bin=${CARGO_TARGET_DIR:-target}/release
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
load() { # name, arguments of tidings-loadgen
    local name=$1
    shift
    timeout 90 "$bin/tidings-loadgen" "$@" --format json >>"$out/$name" || echo "FAILED ($?): $name" >&2
}
for _ in $(seq "$rounds"); do
    for size in 64 1024; do
        for datagram in 1448 64992; do
            timeout 60 "$bin/floor" pipe --size "$size" --datagram "$datagram" --seconds "$seconds" --json >>"$out/floor $datagram $size"
        done
        load "throughput on-shard-1448 $size" throughput --attach on-shard --max-datagram 1448 --size "$size" --seconds "$seconds"
        for attach in on-shard any-thread daemon; do
            load "throughput $attach $size" throughput --attach "$attach" --size "$size" --seconds "$seconds"
        done
    done
    for attach in on-shard any-thread daemon; do
        load "latency $attach" latency --attach "$attach" --rate 10000 --seconds "$seconds"
    done
    for attach in on-shard daemon; do
        load "idle $attach" idle --attach "$attach" --seconds 5
    done
done
uptime
python3 - "$out" <<'P'
import json, os, statistics as st, sys
out = sys.argv[1]
def med(rows, get):
    v = [get(r) for r in rows]
    return st.median(v), min(v), max(v)
for name in sorted(os.listdir(out)):
    rows = [json.loads(l) for l in open(os.path.join(out, name)) if l.strip()]
    if not rows:
        print(name, "no figures"); continue
    kind = name.split()[0]
    say = lambda what, get, f: "%s %s (%s-%s)" % ((what,) + tuple(f % x for x in med(rows, get)))
    if kind == "floor":
        parts = [say("M/s", lambda r: r["rate"] / 1e6, "%.2f"), say("CPU ns", lambda r: r["cpu_ns"], "%.0f")]
    elif kind == "throughput":
        parts = [say("M/s", lambda r: r["window"]["rate"] / 1e6, "%.3f"), say("CPU ns", lambda r: r["window"]["cpu_ns"], "%.0f"),
                 say("peak RSS MiB, largest", lambda r: max(p["rss_peak"] for p in r["processes"]) / 2**20, "%.0f"),
                 say("lost", lambda r: r["lost"], "%d")]
    elif kind == "latency":
        parts = [say(p + " us", lambda r, p=p: r["received"]["latency"][p] / 1e3, "%.0f") for p in ("p50", "p99")]
        parts += [say("lag " + p + " us", lambda r, p=p: r["published"]["lag"][p] / 1e3, "%.0f") for p in ("p50", "p99")]
    else:
        at = -1
        parts = [say("CPU % of a core", lambda r: r["processes"][at]["cores"] * 100, "%.3f"), say("RSS MiB", lambda r: r["processes"][at]["rss"] / 2**20, "%.1f")]
    print("%-28s n=%d  %s" % (name, len(rows), "; ".join(parts)))
P
