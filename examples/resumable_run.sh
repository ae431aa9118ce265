#!/usr/bin/env bash
# A run that outlives kills and reboots: called again, it goes on where it was.
# Prints how many results there are.  usage: resumable_run.sh [FOLDER [RESULTS.jsonl]]
set -euo pipefail
folder=${1:-$(dirname "$0")/photos}
results=${2:-$(mktemp -d)/results.jsonl}

# Sorted: input and results are compared image by image, and find's own order may change.
find "$folder" -type f \( -name '*.jpg' -o -name '*.png' \) -print0 | LC_ALL=C sort -z |
  clipcli -0 --files-from - --model "${CLIPCLI_MODEL:-tiny}" \
    -l cat -l 'cup of coffee' -l rocket -o "$results" --resume
echo "$(grep -c '"status": "ok"' "$results") results in $results"
