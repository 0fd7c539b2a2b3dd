#!/usr/bin/env bash
# Runs the tests of the workspace; the arguments choose packages and features, as cargo understands them.
#
# cargo-nextest where it is installed: one process a test, a time limit a test, heavy tests one by one (.config/nextest.toml). It
# leaves out documentation tests, which go first, so that its summary of the whole is the last thing printed. Elsewhere plain cargo.
set -euo pipefail

if cargo nextest --version >/dev/null 2>&1; then
    cargo test --doc --quiet "$@"
    exec cargo nextest run "$@"
fi
echo "cargo-nextest is not installed: running with cargo test, which has no time limits" >&2
exec cargo test --no-fail-fast "$@"
