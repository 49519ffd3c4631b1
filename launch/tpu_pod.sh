#!/usr/bin/env bash
# The same command on every worker of a Cloud TPU pod slice.
#     NAME=my-pod ZONE=us-west4-a launch/tpu_pod.sh --exp=gsm8k_token_verifier --workdir=/shared/runs/mine
# FOLDER (default: verifier) is the checkout on every worker, with `make setup` and the extra [tpu] done.
set -euo pipefail
name=${NAME:?the name of the slice} zone=${ZONE:?its zone} folder=${FOLDER:-verifier}
command="cd $(printf %q "$folder") && .venv/bin/python -m verifier.launch$(printf ' %q' "$@")"
exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$command"
