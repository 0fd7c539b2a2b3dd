#!/usr/bin/env bash
# Every claim holds, and every deliberate defect is caught.
#
#   scripts/prove-all.sh HONEST SABOTAGED [ARGS…]
#
# HONEST and SABOTAGED are fieldgate-sim as built without and with the feature `sabotage`, each beside its own fieldgate.
# Each claim runs honestly with ARGS and must end with 0. Then each pair of `prove --list-sabotage` runs in its short form and must
# end with 3 and say `violated:` with the words that stand behind the pair; any other end, an error or another promise
# included, means that the proof could not see the defect.
# A claim that this machine cannot try (exit 1 and a line `left out: …`) is listed as left out, its defects with it, and is no
# failure; with CI=true, where everything must be there, it is. All are run, whatever fails; what did is listed at the end.
set -euo pipefail

readonly honest=$1 sabotaged=$2
shift 2

pairs=$("$sabotaged" prove --list-sabotage)
[ -n "$pairs" ] || { echo "prove --list-sabotage names nothing: no claim could be proved" >&2; exit 1; }

failures=()
# Claims left out, by name, with why.
declare -A left_out=()
held=0 caught=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT
# One Ctrl-C ends the whole run, not just the proof at hand.
trap 'exit 130' INT

while read -r claim; do
    echo "== $claim"
    status=0
    "$honest" prove "$claim" "$@" </dev/null 2>"$output" || status=$?
    cat "$output" >&2
    if [ "$status" -eq 0 ]; then
        held=$((held + 1))
    elif [ "$status" -eq 1 ] && [ "${CI:-}" != true ] && why=$(grep -m 1 '^left out: ' "$output"); then
        left_out[$claim]=${why#left out: }
    else
        failures+=("$claim: does not hold (exit $status)")
    fi
done < <(cut -d' ' -f1 <<<"$pairs" | sort -u)

while read -r claim defect promise; do
    [ -z "${left_out[$claim]:-}" ] || continue
    echo "== $claim, sabotaged by $defect"
    status=0
    "$sabotaged" prove "$claim" --short --sabotage "$defect" </dev/null >"$output" 2>&1 || status=$?
    if [ "$status" -eq 3 ] && grep '^violated: ' "$output" | grep -F -- "$promise" >/dev/null; then
        grep '^violated: ' "$output"
        caught=$((caught + 1))
    else
        cat "$output"
        failures+=("$claim --sabotage $defect: not caught (exit $status, expected 3 and a line 'violated: … $promise …')")
    fi
done <<<"$pairs"

for claim in "${!left_out[@]}"; do
    echo "LEFT OUT: $claim and its defects: ${left_out[$claim]}" >&2
done
if [ "${#failures[@]}" -gt 0 ]; then
    printf 'FAILED: %s\n' "${failures[@]}" >&2
    exit 1
fi
if [ "${#left_out[@]}" -gt 0 ]; then
    echo "$held claims hold, $caught defects were caught; ${#left_out[@]} claims were left out"
else
    echo "all $held claims hold, all $caught defects were caught"
fi
