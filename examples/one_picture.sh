#!/usr/bin/env bash
# One picture, three labels: prints a bar and a probability for each on a terminal, TSV elsewhere.
set -euo pipefail
cd "$(dirname "$0")"

clipcli photos/chelsea.png --model "${CLIPCLI_MODEL:-tiny}" \
  -l 'a photo of a cat' -l 'a photo of a dog' -l 'a photo of a mountain'
