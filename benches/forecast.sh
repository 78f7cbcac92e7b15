#!/usr/bin/env bash
# A table of what a training step of each model would take on cards that are not here, on the embedded world by the models' defaults:
# a forecast from published figures. Needs no GPU.
#   benches/forecast.sh [WGREC] > TABLE
set -euo pipefail
wgrec=${1:-target/release/wgrec}
cards=(h200 rtx4090 rx7900 a770 m1)
echo "| model | dispatches | $(printf '%s ms | ' "${cards[@]}")bound by (${cards[0]}, ${cards[-1]}) |"
echo "|---|---|$(printf -- '---|%.0s' "${cards[@]}")---|"
for model in $("$wgrec" models | sed -n 's/^ \([a-z0-9]\+\)  .*/\1/p'); do
  row="" bounds=()
  for card in "${cards[@]}"; do
    # Dispatches, microseconds and bound of a step; what is not trained has no step.
    read -r dispatches us bound < <("$wgrec" plan "$model" --on "$card" 2>/dev/null | sed -n '/^forecast/,$ s/^a step *//p') || continue 2
    row+=" $(awk -v us="$us" 'BEGIN { printf "%.2f", us / 1000 }') |"
    bounds+=("$bound")
  done
  echo "| \`$model\` | $dispatches |$row ${bounds[0]}, ${bounds[-1]} |"
done
