#!/usr/bin/env bash
# Are the tools there that cargo will call? Run by make before cargo, so that a missing one is installed or named here
# instead of failing somewhere inside a build script.
#
#   scripts/need.sh build    what compiling needs
#   scripts/need.sh test     that, and what `make test` runs: foreign peers, a browser, systemd's own checks
#   scripts/need.sh fuzz     what compiling needs, and what `make fuzz` runs
#
# As root, or where sudo asks for no password, missing Debian packages are installed with apt-get; otherwise they are named
# and the exit status is 1. Python peers go to target/peers-venv, always there, whatever CARGO_TARGET_DIR says, so that tests
# have one place to look. Nothing is done, and quickly, where everything is present.
set -euo pipefail
cd "$(dirname "$0")/.."

# As in the Makefile: rustup's directory for shells that have not read its profile yet, and /usr/sbin for mosquitto.
PATH="$PATH:${HOME:-/root}/.cargo/bin:/usr/sbin:/sbin"

readonly venv=target/peers-venv
readonly pins=scripts/peers.txt
readonly built_pins=scripts/peers-built.txt

main() {
    case "${1:-}" in
        build) check_rust; provide_packages build ;;
        test) check_rust; check_rust_components; provide_packages test; provide_peers; provide_built_peers ;;
        fuzz) check_rust; provide_packages fuzz; provide_cargo_fuzz ;;
        *) echo "usage: scripts/need.sh build|test|fuzz" >&2; exit 2 ;;
    esac
}

# ---- What is needed -----------------------------------------------------------------------------------------------------

# One line a need: Debian package, how to see that it is there, what for.
needs() {
    need gcc                "have cc"                   "links Rust programs and compiles C"
    need libc6-dev          "have_c_headers"            "headers of the C library"
    need cmake              "have cmake"                "builds the DTLS library"
    need ninja-build        "have ninja"                "builds the DTLS library"
    need clang              "have clang"                "reads the headers of the DTLS library"
    need libclang-dev       "have_libclang"             "reads the headers of the DTLS library"
    if [ "$1" = fuzz ]; then
        need g++            "have c++"                  "builds libFuzzer"
    fi
    [ "$1" = test ] || return 0
    need libcoap3-bin       "have coap-server-openssl coap-server-gnutls coap-client-openssl" "CoAP over DTLS peers"
    need mosquitto          "have mosquitto"            "MQTT broker the tests start for themselves"
    need openssl            "have openssl"              "certificates the tests make for themselves"
    need socat              "have socat"                "pairs of pseudo terminals, as serial lines"
    need qemu-utils         "have qemu-storage-daemon" "records what a disk is told, for power cuts"
    need e2fsprogs          "have mkfs.ext4 e2fsck"     "file systems of the tests' own"
    need chromium           "have chromium"             "shows the technician's page"
    need iproute2           "have ip"                   "networks of the tests' own"
    need util-linux         "have unshare nsenter"      "namespaces for them"
    need systemd            "have systemd-analyze systemd-sysusers systemd-tmpfiles" "checks the unit files"
    need python3-venv       "have_peers || find_python" "environment of the Python peers"
    have_built_peers || {
        need autoconf       "have autoreconf"           "builds a DTLS peer"
        need automake       "have aclocal"              "builds a DTLS peer"
        need python3-dev    "have_python_headers"       "builds a DTLS peer"
    }
}

have() {
    local tool
    for tool in "$@"; do command -v "$tool" >/dev/null || return 1; done
}

# The compiler's Debian package does not bring the C library's headers along when recommended packages are left out.
have_c_headers() {
    [ -e /usr/include/stdio.h ] || printf '#include <stdio.h>\n' | cc -E -o /dev/null - 2>/dev/null
}

# Looked for where the header reader looks. The `-cpp` library beside it is another one.
have_libclang() {
    local file
    [ -z "${LIBCLANG_PATH:-}" ] || return 0
    for file in /usr/lib/llvm-*/lib/libclang{,-[0-9]*}.so* /usr/lib/*-linux-gnu*/libclang{,-[0-9]*}.so* \
        /usr/lib{,64}/libclang{,-[0-9]*}.so* /usr/local/lib/libclang{,-[0-9]*}.so*; do
        [ ! -e "$file" ] || return 0
    done
    return 1
}

check_rust() {
    have cargo || fail "cargo was not found. Install Rust (rustup, stable) and open a new shell, or put cargo into PATH."
}

check_rust_components() {
    local said
    said=$(cargo fmt --version 2>&1 && cargo clippy --version 2>&1) ||
        fail "$said" "cargo fmt or cargo clippy does not run. Where they are missing: rustup component add rustfmt clippy"
}

# It needs no other toolchain than the stable one: its sanitizer's run-time library is part of that, and the flags that choose it are
# let through by RUSTC_BOOTSTRAP.
provide_cargo_fuzz() {
    ! cargo fuzz --version >/dev/null 2>&1 || return 0
    echo "Installing cargo-fuzz …" >&2
    cargo install --locked --quiet cargo-fuzz >&2 ||
        fail "cargo could not install cargo-fuzz. Without network, install it by hand: cargo install --locked cargo-fuzz"
}

# ---- Debian packages ----------------------------------------------------------------------------------------------------

missing=()
reasons=()

need() {
    eval "$2" || { missing+=("$1"); reasons+=("$(printf '  %-14s %s' "$1" "$3")"); }
}

find_missing() {
    missing=() reasons=()
    needs "$1"
}

provide_packages() {
    find_missing "$1"
    [ "${#missing[@]}" -gt 0 ] || return 0
    say_missing "These Debian packages are missing:"
    if ! have apt-get; then
        fail "This is not Debian: install the same tools under the names they have here."
    elif ! may_be_root; then
        fail "Only root may install them. Run this, then make again:" \
            "  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"
    fi
    install_packages
    find_missing "$1"
    [ "${#missing[@]}" -eq 0 ] || {
        say_missing "Installed, but still not found:"
        fail "Look for another tool of that name earlier in PATH, and for apt-get's messages above."
    }
}

say_missing() {
    printf '%s\n' "$1" "${reasons[@]}" >&2
}

may_be_root() {
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_packages() {
    local apt=(as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
    echo "Installing them with apt-get …" >&2
    forbid_service_starts
    # Old package lists may still do, so a failed update is not the end yet.
    "${apt[@]}" update >&2 || echo "apt-get update failed; trying with the package lists that are here." >&2
    "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2 ||
        fail "apt-get could not install: ${missing[*]}" "Its own messages are above. Without network, install them by hand."
    allow_service_starts
    # The tests start brokers of their own on free ports. The packaged service would sit on port 1883 from the next boot on.
    if [[ " ${missing[*]} " == *" mosquitto "* ]] && have systemctl; then
        as_root systemctl disable --quiet mosquitto >/dev/null 2>&1 || true
    fi
}

readonly policy=/usr/sbin/policy-rc.d
policy_is_ours=no

# Debian asks this file before a package starts its service; 101 means no. A machine that has its own keeps it.
forbid_service_starts() {
    [ ! -e "$policy" ] || return 0
    policy_is_ours=yes
    trap allow_service_starts EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}

allow_service_starts() {
    [ "$policy_is_ours" = yes ] || return 0
    policy_is_ours=no
    as_root rm -f "$policy"
}

# ---- Python peers -------------------------------------------------------------------------------------------------------

# The copy of the pins is written last, so a half-made environment never passes for a whole one; the interpreter is a link
# and dangles when the Python it came from is gone.
have_peers() {
    [ -x "$venv/bin/python" ] && cmp -s "$pins" "$venv/pins.txt"
}

# The first Python that can make an environment with pip in it, and is recent enough for the peers.
find_python() {
    local candidate
    for candidate in python3 /usr/bin/python3; do
        if "$candidate" -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            python=$candidate
            return 0
        fi
    done
    return 1
}

provide_peers() {
    local log="$venv/pip.log"
    have_peers && return 0
    find_python || fail "No Python 3.10 or newer with the venv module was found. Debian package: python3-venv."
    echo "Making $venv with the Python peers of the tests …" >&2
    mkdir -p target
    # Two runs at once would build the same directory.
    exec 9>target/.peers-venv.lock
    flock 9
    have_peers && return 0
    "$python" -m venv --clear "$venv" || fail "$python -m venv could not make $venv. Debian package: python3-venv."
    "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps --requirement "$pins" >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        fail "pip could not install the packages of $pins ($(grep -v '^#' "$pins" | paste -sd' '))." \
            "Give it a package index (PIP_INDEX_URL) or a directory of wheels (PIP_FIND_LINKS), then run make again."
    }
    cp "$pins" "$venv/pins.txt"
}

have_built_peers() {
    have_peers && cmp -s "$built_pins" "$venv/peers-built.txt"
}

have_python_headers() {
    find_python && [ -e "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]
}

# Not having them is an error only where nobody would read that tests were left out. A making that failed is not tried again before the
# pins change: it takes minutes.
provide_built_peers() {
    local log="$venv/pip-built.log"
    ! have_built_peers || return 0
    if ! cmp -s "$built_pins" "$venv/peers-built-failed.txt"; then
        echo "Building Python peers of the tests …" >&2
        if "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps --requirement "$built_pins" >"$log" 2>&1; then
            cp "$built_pins" "$venv/peers-built.txt"
            return 0
        fi
        tail -n 5 "$log" >&2
        cp "$built_pins" "$venv/peers-built-failed.txt"
    fi
    local why="The packages of $built_pins could not be built ($log). To try again: rm $venv/peers-built-failed.txt"
    [ "${CI:-}" != true ] || fail "$why"
    echo "$why" "Tests against them are left out." >&2
}

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

main "$@"
