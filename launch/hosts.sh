#!/usr/bin/env bash
# One process on each of some machines that ssh reaches and that see the same workdir.
#     launch/hosts.sh HOST... -- --exp=gsm8k_token_verifier --workdir=/shared/runs/mine
# FOLDER (default: verifier) is the checkout on every machine, with `make setup` done; PORT (default: 8476) is where they meet.
set -euo pipefail
folder=${FOLDER:-verifier} port=${PORT:-8476} hosts=()
while [[ $# -gt 0 && $1 != -- ]]; do
    hosts+=("$1")
    shift
done
if [[ ${#hosts[@]} -eq 0 || $# -lt 2 ]]; then
    echo "usage: launch/hosts.sh HOST... -- --exp=NAME [flags of verifier.launch]" >&2
    exit 2
fi
shift
processes=()
# shellcheck disable=SC2329 # called by the trap
stop() { kill "${processes[@]}" 2>/dev/null || true; }
trap stop INT TERM
for index in "${!hosts[@]}"; do
    job=(--coordinator_address="${hosts[0]}:$port" --num_processes="${#hosts[@]}" --process_id="$index")
    # -tt: the remote process ends with this one
    ssh -tt "${hosts[$index]}" "cd $(printf %q "$folder") && .venv/bin/python -m verifier.launch $(printf '%q ' "${job[@]}" "$@")" &
    processes+=($!)
done
status=0
for process in "${processes[@]}"; do
    wait "$process" || status=$?
done
exit "$status"
