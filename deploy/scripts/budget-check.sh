#!/bin/sh
# Stops Loki Mode when a session has cost too much. For cron, every 5 minutes, in the project's directory:
#
#   */5 * * * *  cd /srv/shop && /usr/local/bin/budget-check.sh
#
# The limit is BUDGET_USD if set, else nine tenths of the session's own budget, else 4.50. BUDGET_PROJECT names the
# project where the exporter has several; without it every one of them is checked.
#
# Exit code as with monitoring plugins: 0 within the limit, 2 beyond it (and Loki Mode was told to stop), 3 when the
# cost is not known: nobody measured it, or no exporter answers. The documented script matched the page's comments and
# labels as well, and compared the text "HELP" with a number.
set -u
url=${METRICS_URL:-http://localhost:57374/metrics}
on_exceeded=${ON_EXCEEDED-loki stop}

page=$(curl --fail --silent --show-error --max-time 10 "$url") || {
  echo "UNKNOWN: no metrics from $url"
  exit 3
}

printf '%s\n' "$page" | awk -v fixed="${BUDGET_USD-}" -v project="${BUDGET_PROJECT-}" '
  # A sample: name, labels (values may hold blanks and braces, quotes in them are escaped), value.
  match($0, /^(loki_cost_usd|loki_mode_budget_limit_usd)(\{([^"}]|"([^"\\]|\\.)*")*\})? /) {
    series = substr($0, 1, RLENGTH - 1)
    split(substr($0, RLENGTH + 1), rest, " ")
    name = series; sub(/\{.*/, "", name)
    labels = substr(series, length(name) + 1)
    if (project != "" && index(labels, "project=\"" project "\"") == 0) next
    if (name == "loki_cost_usd") cost[labels] = rest[1]
    else if (rest[1] + 0 > 0) own[labels] = rest[1] * 0.9
  }
  END {
    worst = 3
    for (labels in cost) {
      limit = fixed != "" ? fixed + 0 : (labels in own) ? own[labels] : 4.5
      beyond = cost[labels] + 0 > limit
      if (beyond) printf "CRITICAL: cost %.2f USD%s exceeds %.2f\n", cost[labels], labels, limit
      if (beyond) worst = 2
      else if (worst == 3) worst = 0
    }
    if (worst == 3) print "UNKNOWN: the page has no cost" (project != "" ? " of " project : "")
    exit worst
  }'
status=$?
if [ "$status" -eq 2 ] && [ -n "$on_exceeded" ]; then
  $on_exceeded
fi
exit "$status"
