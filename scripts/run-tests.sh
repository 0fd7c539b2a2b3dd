#!/usr/bin/env bash
# Runs the tests of the workspace; the arguments choose packages and features, as cargo understands them.
#
# cargo-nextest where it is installed: one process a test, a time limit a test, heavy tests one by one (.config/nextest.toml). It
# leaves out documentation tests, which go first, so that its summary of the whole is the last thing printed. Elsewhere plain cargo, all tests one by one.
set -euo pipefail

if cargo nextest --version >/dev/null 2>&1; then
    cargo test --doc --quiet "$@"
    exec cargo nextest run "$@"
fi
echo "cargo-nextest is not installed: running with cargo test, one test at a time and without time limits" >&2
# It knows no heavy tests: several daemons at once would measure each other.
exec cargo test --no-fail-fast "$@" -- --test-threads=1
