#!/usr/bin/env bash
# A job for CI that fails (exit code 6) when a sample picture is no longer recognised.
set -euo pipefail
cd "$(dirname "$0")"

clipcli photos/rocket.jpg --model "${CLIPCLI_MODEL:-tiny}" \
  -l rocket -l cat -l car -l tree --expect rocket --min-probability 0.8
