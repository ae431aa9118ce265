#!/usr/bin/env bash
# All pictures below a folder, whatever their names hold: NUL-separated names through a pipe.
# Prints the cats' names.  usage: many_pictures.sh [FOLDER]
set -euo pipefail
folder=${1:-$(dirname "$0")/photos}

find "$folder" -type f \( -name '*.jpg' -o -name '*.png' \) -print0 |
  clipcli -0 --files-from - --model "${CLIPCLI_MODEL:-tiny}" \
    -l cat -l 'cup of coffee' -l rocket |
  awk -F '\t' '$2 == "cat" { print $1 }'
