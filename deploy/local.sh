#!/usr/bin/env bash
# All services of RankSRGAN on this machine, on loopback.
#
#   deploy/local.sh up [--ranker NAME=FILE]... [--model NAME=FILE]... [--data-root DIR]
#   deploy/local.sh demo [IMAGE]
#   deploy/local.sh status
#   deploy/local.sh logs [metrics|rankdata|ranker|srgan]
#   deploy/local.sh down
#
# `up` starts what is not running, restarts what runs with other files (of another name, or replaced
# since) unless its --check-config refuses them, and returns when all of them answer their health
# check. Without a --ranker the Ranker that comes with the package is served, and without a --model
# the generators that do. The data root lets the rankdata service build, and the ranker and the
# srgan service train; a generator's training may name the Rankers that are served here. Without it
# there is no rankdata service; one that runs is stopped. Saying `up` or `down` twice changes nothing.
#
# A service that dies is started again, at once the first time and after a longer and longer pause,
# of a minute at most, if it goes on dying. `status` counts it; exit code 1 if one is not up. `demo`
# is a client: it asks the services that run to score an image, or the middle of a large one, and to
# enlarge it. `down` ends the services and their trainings and builds, which go on when the services
# are up again.
#
# Environment: RANKSRGAN_STATE (folder of logs and process ids; default ~/.local/state/ranksrgan),
# METRICS_ADDRESS, RANKER_ADDRESS, SRGAN_ADDRESS, RANKDATA_ADDRESS (default 127.0.0.1:50051, :50052,
# :50053 and :50054), BIN (folder of the commands; default .venv/bin of this checkout, else PATH).
set -euo pipefail

script=$(readlink -f "${BASH_SOURCE[0]}")  # supervisors are known by it, whatever links to it
root=${script%/deploy/*}
state=${RANKSRGAN_STATE:-${XDG_STATE_HOME:-~/.local/state}/ranksrgan}  # ~ is known without HOME too
metrics_address=${METRICS_ADDRESS:-127.0.0.1:50051}
ranker_address=${RANKER_ADDRESS:-127.0.0.1:50052}
srgan_address=${SRGAN_ADDRESS:-127.0.0.1:50053}
rankdata_address=${RANKDATA_ADDRESS:-127.0.0.1:50054}
if [ -z "${BIN:-}" ] && [ -x "$root/.venv/bin/python" ]; then BIN=$root/.venv/bin; fi
bin() { PATH=${BIN:-$PATH} command -v "$1" || die "$1 is not installed in ${BIN:-the folders of PATH}"; }
services=(metrics ranker srgan rankdata)
shipped_ranker=ranker-niqe
wait_seconds=120
drain_seconds=40    # more than the services give the requests that they work on
longest_pause=60    # before a service that goes on dying is started again
steady_seconds=60   # one that has lived so long starts again at once

die() { echo "error: $*" >&2; exit 1; }
address_of() { local name=${1}_address; echo "${!name}"; }
# As a service is named where something else might be: unix:PATH says so by itself.
remote() { case $1 in unix:*) echo "$1" ;; *) echo "grpc://$1" ;; esac; }

# The process id in a file if it runs and is ours: a number alone may have been given away.
alive() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 1
    [ -n "$pid" ] || return 1
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$2" || return 1
    echo "$pid"
}
running() { alive "$state/$1.pid" "ranksrgan-$1 serve"; }
supervisor() { alive "$state/$1.supervisor" "${script##*/} supervise $1 "; }

healthy() { "$(bin python)" -m ranksrgan.contracts.healthcheck "$(address_of "$1")" "${@:2}"; }

# Run a service until this process gets SIGTERM; start it again whenever it ends before.
supervise() {
    local name=$1 pause=0 deaths=0 child='' ending='' began code
    shift
    trap 'ending=yes; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true' TERM
    while [ -z "$ending" ]; do
        began=$SECONDS
        "$@" &
        child=$!
        note "$name.pid" "$child"
        if [ -n "$ending" ]; then kill -TERM "$child" 2>/dev/null || true; fi
        await_child
        if [ -n "$ending" ]; then break; fi
        deaths=$((deaths + 1))
        if [ $((SECONDS - began)) -ge $steady_seconds ]; then pause=0; fi
        note "$name.deaths" "$deaths $(date +%T) $code"
        echo "local.sh: $name ended with code $code (death $deaths); started again in $pause s"
        sleep "$pause" &
        child=$!
        if [ -n "$ending" ]; then kill "$child" 2>/dev/null || true; fi
        await_child
        pause=$((pause == 0 ? 1 : pause * 2 > longest_pause ? longest_pause : pause * 2))
    done
    rm -f "$state/$name.pid"
}

# Write a file of the state whole. A full disk is no reason to leave a service alone.
note() { { echo "$2" >"$state/.$1" && mv "$state/.$1" "$state/$1"; } || true; }

# Wait until `child` has ended, whatever signals come meanwhile; sets `code`.
await_child() {
    code=0
    wait "$child" || code=$?
    while kill -0 "$child" 2>/dev/null; do code=0; wait "$child" || code=$?; done
    child=''
}

# End a process, by SIGKILL if SIGTERM does not do it.
end() {
    kill -TERM "$1" 2>/dev/null || return 0
    for _ in $(seq $((drain_seconds * 10))); do
        # What has ended may stay listed as a zombie, where no init looks after orphans.
        grep -qs '^State:.[^ZX]' "/proc/$1/status" || return 0
        sleep 0.1
    done
    kill -KILL "$1" 2>/dev/null || true
}

stop() {
    halt "$1"
    rm -f "$state/$1".{command,deaths}
}

# The same, but that the service is still wanted: `status` says that it is down and exits with 1.
halt() {
    local name=$1 pid found=''
    if pid=$(supervisor "$name"); then found=yes; end "$pid"; fi
    if pid=$(running "$name"); then found=yes; end "$pid"; fi  # its supervisor was killed
    end_jobs "$name"
    if [ -n "$found" ]; then echo "$name: stopped"; fi
    rm -f "$state/$name".{pid,supervisor,data}
}

# Trainings and builds outlive a service that is killed, so that the next one finds them at work.
end_jobs() {
    local name=$1 data job pid
    data=$(cat "$state/$name.data" 2>/dev/null) || return 0
    for job in "$data/operations/$name"-*/; do
        # Who works on a job holds its lock, and has written its number there.
        if [ ! -f "$job/lock" ] || flock --nonblock "$job/lock" true; then continue; fi
        pid=$(cut -d' ' -f1 "$job/lock")
        if alive <(echo "$pid") "ranksrgan.$name.job ${job%/}" >/dev/null; then
            echo "$name: ending ${job#"$data/"}"
            end "$pid"
            kill -KILL -- "-$pid" 2>/dev/null || true  # its own processes
        fi
    done
}

# NAME=FILE, or NAME=FILE?OPTIONS, with the whole path of FILE: a relative one means another file in
# another folder. What is no file here, or a word that may name a shipped network, stays as it is.
whole() {
    local file=${1#*=}
    file=${file%%\?*}
    if [[ $1 == *=* && $file == *[./]* && $file != /* && -e $file ]]; then echo "${1%%=*}=$PWD/${1#*=}"; else echo "$1"; fi
}

# Which files a command names, besides their names: inode, size and time of those that are there.
files_of() {
    local argument file
    for argument in "$@"; do
        file=${argument#*=}
        case $argument in *=/*) stat -L -c '%i %s %.9Y' "${file%%\?*}" 2>/dev/null || true ;; esac
    done
}

# start NAME DATA COMMAND...; DATA is the data root that it works in, or empty.
start() {
    local name=$1 data=$2 wanted pid; shift 2
    wanted=$(echo "$*"; files_of "$@")
    if pid=$(supervisor "$name"); then
        if [ "$(cat "$state/$name.command" 2>/dev/null)" = "$wanted" ]; then
            echo "$name: already up at $(address_of "$name") (process $(running "$name" || echo none))"
            return
        fi
        "$@" --check-config >/dev/null ||
            die "$name: goes on with what it serves; it would not start as above"
    fi
    stop "$name"  # with other files, or left behind by a supervisor that was killed
    echo "$wanted" >"$state/$name.command"
    # Nobody else may answer in its place: the health check could not tell.
    if healthy "$name"; then die "$name: another server listens on $(address_of "$name")"; fi
    if [ -n "$data" ]; then echo "$data" >"$state/$name.data"; fi
    GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-10000} \
        RANKSRGAN_STATE=$state setsid bash "$script" supervise "$name" "$@" \
        >"$state/$name.log" 2>&1 </dev/null 9>&- &
    echo $! >"$state/$name.supervisor"
    fresh+=" $name "
}

await() {
    local name=$1 end=$((SECONDS + wait_seconds))
    while ! running "$name" >/dev/null || ! healthy "$name" --wait 2; do
        # One that has just been started and died at once would only do so again.
        if [ $SECONDS -ge $end ] || { [[ $fresh == *" $name "* ]] && [ -f "$state/$name.deaths" ]; }; then
            echo "error: $name did not come up; the end of its log:" >&2
            tail -n 20 "$state/$name.log" >&2
            halt "$name"
            exit 1
        fi
        sleep 0.1
    done
    echo "$name: up at $(address_of "$name")"
}

up() {
    local rankers=() served=() models=() data=() data_root='' name wanted=(metrics ranker srgan) fresh=''
    while [ $# -gt 0 ]; do
        case $1 in
            --ranker)
                [ $# -ge 2 ] || die "--ranker NAME=FILE"
                rankers+=(--ranker "$(whole "$2")")
                served+=(--ranker "${2%%=*}=$(remote "$ranker_address")/${2%%=*}")
                shift 2 ;;
            --model) [ $# -ge 2 ] || die "--model NAME=FILE"; models+=(--model "$(whole "$2")"); shift 2 ;;
            --data-root)
                [ $# -ge 2 ] || die "--data-root DIR"
                data_root=$(cd "$2" 2>/dev/null && pwd -P) || die "--data-root: there is no folder $2"
                data=(--data-root "$data_root")
                shift 2 ;;
            *) die "unknown option $1; see the head of this file" ;;
        esac
    done
    if [ ${#data[@]} -eq 0 ]; then
        served=()  # nothing is trained
    elif [ ${#rankers[@]} -eq 0 ]; then
        served=(--ranker "$shipped_ranker=$(remote "$ranker_address")/$shipped_ranker")
    fi
    for name in python "${services[@]/#/ranksrgan-}"; do bin "$name" >/dev/null; done
    alone
    start metrics "" "$(bin ranksrgan-metrics)" serve --listen "$metrics_address"
    start ranker "$data_root" "$(bin ranksrgan-ranker)" serve --listen "$ranker_address" \
        "${rankers[@]}" "${data[@]}"
    start srgan "$data_root" "$(bin ranksrgan-srgan)" serve --listen "$srgan_address" \
        "${models[@]}" "${data[@]}" "${served[@]}"
    if [ ${#data[@]} -gt 0 ]; then
        start rankdata "$data_root" "$(bin ranksrgan-rankdata)" serve \
            --listen "$rankdata_address" "${data[@]}"
        wanted+=(rankdata)
    else
        stop rankdata  # of an `up` that had one
        echo "rankdata: not started (no --data-root DIR)"
    fi
    for name in "${wanted[@]}"; do await "$name"; done
}

# One `up` or `down` at a time.
alone() {
    mkdir -p "$state"
    exec 9>"$state/lock"
    flock 9
}

status() {
    local name pid code=0 deaths when how history
    for name in "${services[@]}"; do
        history=
        if read -r deaths when how 2>/dev/null <"$state/$name.deaths"; then
            history="; died $deaths time(s), last at $when with code $how"
        fi
        if ! supervisor "$name" >/dev/null; then
            # One that nobody asked for is no failure, unless there is none at all.
            if [ -f "$state/$name.command" ] || [ "$name" = metrics ]; then code=1; fi
            if pid=$(running "$name"); then
                echo "$name: process $pid runs, but nobody would start it again; say up$history"
            else
                echo "$name: down$history"
            fi
        elif ! pid=$(running "$name"); then
            echo "$name: about to be started again$history"; code=1
        elif healthy "$name" --wait 10; then  # one that has just been started gets a moment
            echo "$name: up at $(address_of "$name") (process $pid)$history"
        else
            echo "$name: process $pid runs but does not serve$history"; code=1
        fi
    done
    return $code
}

demo() {
    local name addresses=()
    for name in metrics ranker srgan; do
        if running "$name" >/dev/null; then addresses+=("--$name" "$(address_of "$name")"); fi
    done
    [ ${#addresses[@]} -gt 0 ] || die "no service runs; say up first"
    "$(bin python)" "${script%/*}/demo_client.py" "${addresses[@]}" "$@"
}

logs() {
    local name found=''
    for name in "$@"; do
        [[ " ${services[*]} " == *" $name "* ]] || die "logs: $name is none of ${services[*]}"
        [ -f "$state/$name.log" ] || continue
        found=yes
        echo "== $name ($state/$name.log)"
        tail -n 50 "$state/$name.log"
    done
    [ -n "$found" ] || die "no log of $* in $state: nothing of it has run there"
}

down() {
    local name
    [ -d "$state" ] || return 0
    alone
    for name in "${services[@]}"; do stop "$name"; done
}

case ${1:-} in
    up) shift; up "$@" ;;
    demo) shift; demo "$@" ;;
    status) status ;;
    logs) shift; if [ $# -gt 0 ]; then logs "$@"; else logs "${services[@]}"; fi ;;
    down) down ;;
    supervise) shift; supervise "$@" ;;  # for `up` alone
    *) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$script"; exit 2 ;;
esac
