#!/usr/bin/env bash
# All services of RankSRGAN on this machine, on loopback.
#
#   deploy/local.sh up [--ranker NAME=FILE]... [--model NAME=FILE]... [--data-root DIR]
#   deploy/local.sh status
#   deploy/local.sh logs [metrics|rankdata|ranker|srgan]
#   deploy/local.sh down
#
# `up` starts what is not running, restarts what runs with other files, and returns when all of
# them answer their health check. The data root lets the rankdata service build, and the ranker and
# the srgan service train; a generator's training may name the Rankers that are served here. Without
# it there is no rankdata service, no ranker service unless there is a --ranker, and no srgan service
# unless there is a --model. Saying `up` or `down` twice changes nothing.
#
# Environment: RANKSRGAN_STATE (folder of logs and process ids; default ~/.local/state/ranksrgan),
# METRICS_ADDRESS, RANKER_ADDRESS, SRGAN_ADDRESS, RANKDATA_ADDRESS (default 127.0.0.1:50051, :50052,
# :50053 and :50054), BIN (folder of the commands; default .venv/bin of this checkout, else PATH).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=${RANKSRGAN_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/ranksrgan}
metrics_address=${METRICS_ADDRESS:-127.0.0.1:50051}
ranker_address=${RANKER_ADDRESS:-127.0.0.1:50052}
srgan_address=${SRGAN_ADDRESS:-127.0.0.1:50053}
rankdata_address=${RANKDATA_ADDRESS:-127.0.0.1:50054}
if [ -z "${BIN:-}" ] && [ -x "$root/.venv/bin/python" ]; then BIN=$root/.venv/bin; fi
bin() { if [ -n "${BIN:-}" ]; then echo "$BIN/$1"; else command -v "$1" || die "$1 is not installed"; fi; }
services=(metrics ranker srgan rankdata)
wait_seconds=120

die() { echo "error: $*" >&2; exit 1; }
address_of() { local name=${1}_address; echo "${!name}"; }

# The process id of a service if it runs and is ours: a number alone may have been given away.
running() {
    local pid
    pid=$(cat "$state/$1.pid" 2>/dev/null) || return 1
    kill -0 "$pid" 2>/dev/null || return 1
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "ranksrgan-$1 serve" || return 1
    echo "$pid"
}

healthy() { "$(bin python)" -m ranksrgan.contracts.healthcheck "$(address_of "$1")" "${@:2}"; }

stop() {
    local pid
    if pid=$(running "$1"); then
        kill -TERM "$pid"
        for _ in $(seq 350); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        if kill -0 "$pid" 2>/dev/null; then kill -KILL "$pid"; fi
        echo "$1: stopped"
    fi
    rm -f "$state/$1.pid" "$state/$1.command"
}

start() {
    local name=$1 pid; shift
    if pid=$(running "$name"); then
        if [ "$(cat "$state/$name.command" 2>/dev/null)" = "$*" ]; then
            echo "$name: already up at $(address_of "$name") (process $pid)"
            return
        fi
        stop "$name"
    fi
    # Nobody else may answer in its place: the health check could not tell.
    if healthy "$name"; then die "$name: another server listens on $(address_of "$name")"; fi
    setsid "$@" >"$state/$name.log" 2>&1 </dev/null &
    echo $! >"$state/$name.pid"
    echo "$*" >"$state/$name.command"
}

await() {
    local name=$1 end=$((SECONDS + wait_seconds))
    while ! healthy "$name" --wait 2; do
        if ! running "$name" >/dev/null || [ $SECONDS -ge $end ]; then
            echo "error: $name did not come up; the end of its log:" >&2
            tail -n 20 "$state/$name.log" >&2
            stop "$name"
            exit 1
        fi
    done
    echo "$name: up at $(address_of "$name")"
}

up() {
    local rankers=() served=() models=() data=() name wanted=(metrics)
    while [ $# -gt 0 ]; do
        case $1 in
            --ranker)
                [ $# -ge 2 ] || die "--ranker NAME=FILE"
                rankers+=(--ranker "$2")
                served+=(--ranker "${2%%=*}=grpc://$ranker_address/${2%%=*}")
                shift 2 ;;
            --model) [ $# -ge 2 ] || die "--model NAME=FILE"; models+=(--model "$2"); shift 2 ;;
            --data-root) [ $# -ge 2 ] || die "--data-root DIR"; data=(--data-root "$2"); shift 2 ;;
            *) die "unknown option $1; see the head of this file" ;;
        esac
    done
    if [ ${#data[@]} -eq 0 ]; then served=(); fi  # nothing is trained
    mkdir -p "$state"
    start metrics "$(bin ranksrgan-metrics)" serve --listen "$metrics_address"
    if [ ${#rankers[@]} -gt 0 ] || [ ${#data[@]} -gt 0 ]; then
        start ranker "$(bin ranksrgan-ranker)" serve --listen "$ranker_address" \
            "${rankers[@]}" "${data[@]}"
        wanted+=(ranker)
    else
        echo "ranker: not started (no --ranker NAME=FILE, no --data-root DIR)"
    fi
    if [ ${#models[@]} -gt 0 ] || [ ${#data[@]} -gt 0 ]; then
        start srgan "$(bin ranksrgan-srgan)" serve --listen "$srgan_address" \
            "${models[@]}" "${data[@]}" "${served[@]}"
        wanted+=(srgan)
    else
        echo "srgan: not started (no --model NAME=FILE, no --data-root DIR)"
    fi
    if [ ${#data[@]} -gt 0 ]; then
        start rankdata "$(bin ranksrgan-rankdata)" serve --listen "$rankdata_address" "${data[@]}"
        wanted+=(rankdata)
    else
        echo "rankdata: not started (no --data-root DIR)"
    fi
    for name in "${wanted[@]}"; do await "$name"; done
}

status() {
    local name pid code=0
    for name in "${services[@]}"; do
        if ! pid=$(running "$name"); then
            # One that nobody asked for is no failure, unless there is none at all.
            if [ -f "$state/$name.command" ] || [ "$name" = metrics ]; then code=1; fi
            echo "$name: down"
        elif healthy "$name"; then
            echo "$name: up at $(address_of "$name") (process $pid)"
        else
            echo "$name: process $pid runs but does not serve"; code=1
        fi
    done
    return $code
}

logs() {
    local name
    for name in "$@"; do
        [ -f "$state/$name.log" ] || continue
        echo "== $name ($state/$name.log)"
        tail -n 50 "$state/$name.log"
    done
}

down() {
    local name
    for name in "${services[@]}"; do stop "$name"; done
}

case ${1:-} in
    up) shift; up "$@" ;;
    status) status ;;
    logs) shift; if [ $# -gt 0 ]; then logs "$@"; else logs "${services[@]}"; fi ;;
    down) down ;;
    *) sed -n '2,17s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
