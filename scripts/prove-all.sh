#!/usr/bin/env bash
# Every claim holds, and every deliberate defect is caught.
#
#   scripts/prove-all.sh HONEST SABOTAGED [ARGS…]
#
# HONEST and SABOTAGED are fieldgate-sim as built without and with the feature `sabotage`, each beside its own fieldgate.
# Each claim runs honestly with ARGS and must end with 0. Then each pair of `prove --list-sabotage` runs in its short form and must
# end with 3 and say `violated:`; any other end, an error included, means that the proof could not see the defect.
# All are run, whatever fails; the failures are listed at the end.
set -euo pipefail

readonly honest=$1 sabotaged=$2
shift 2

pairs=$("$sabotaged" prove --list-sabotage)
[ -n "$pairs" ] || { echo "prove --list-sabotage names nothing: no claim could be proved" >&2; exit 1; }

failures=()
output=$(mktemp)
trap 'rm -f "$output"' EXIT
# One Ctrl-C ends the whole run, not just the proof at hand.
trap 'exit 130' INT

while read -r claim; do
    echo "== $claim"
    status=0
    "$honest" prove "$claim" "$@" </dev/null || status=$?
    [ "$status" -eq 0 ] || failures+=("$claim: does not hold (exit $status)")
done < <(cut -d' ' -f1 <<<"$pairs" | sort -u)

while read -r claim defect; do
    echo "== $claim, sabotaged by $defect"
    status=0
    "$sabotaged" prove "$claim" --short --sabotage "$defect" </dev/null >"$output" 2>&1 || status=$?
    if [ "$status" -eq 3 ] && grep -q '^violated: ' "$output"; then
        grep '^violated: ' "$output"
    else
        cat "$output"
        failures+=("$claim --sabotage $defect: not caught (exit $status, expected 3 and a line 'violated: …')")
    fi
done <<<"$pairs"

if [ "${#failures[@]}" -gt 0 ]; then
    printf 'FAILED: %s\n' "${failures[@]}" >&2
    exit 1
fi
echo "all claims hold, all $(wc -l <<<"$pairs") defects were caught"
