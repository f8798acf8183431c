#!/bin/sh
# Stops Loki Mode when a session has cost too much. For cron, every 5 minutes, in the project's directory:
#
#   */5 * * * *  cd /srv/shop && BUDGET_PROJECT=shop /usr/local/bin/budget-check.sh
#
# The limit is BUDGET_USD if set, else nine tenths of the session's own budget, else 4.50. What counts is the cost, or
# Loki Mode's own figure of the used budget where that is more. BUDGET_PROJECT names the project where the metrics have
# the label `project`; without it every one of them is checked and told, but nothing is stopped: `loki stop` ends the
# session of this directory, and nobody said which project that is.
#
# Nothing is stopped either when the page says that the session is not running: what a session has cost stays on the
# page after its end.
#
# Exit code as with monitoring plugins: 0 within the limit, 2 beyond it (and Loki Mode was told to stop, if the session
# lives), 3 when it is not known: nobody measured the cost, no exporter answers, or a limit is not a number. The
# documented script matched the page's comments and labels as well, and compared the text "HELP" with a number.
set -u
url=${METRICS_URL:-http://localhost:57374/metrics}
on_exceeded=${ON_EXCEEDED-loki stop}

case ${BUDGET_USD:-0} in
. | *[!0-9.]* | *.*.*)
  echo "UNKNOWN: BUDGET_USD is not a number, such as 4.50: ${BUDGET_USD}"
  exit 3
  ;;
esac

page=$(curl --fail --silent --show-error --max-time 10 "$url") || {
  echo "UNKNOWN: no metrics from $url"
  exit 3
}

# Through the environment: -v would take a backslash for the beginning of an escape.
printf '%s\n' "$page" | LC_ALL=C BUDGET_USD=${BUDGET_USD-} BUDGET_PROJECT=${BUDGET_PROJECT-} awk '
  # A text as it stands between the quotes of a label.
  function escaped(text,    done, i, c) {
    for (i = 1; i <= length(text); i++) {
      c = substr(text, i, 1)
      done = done (c == "\n" ? "\\n" : (c == "\\" || c == "\"") ? "\\" c : c)
    }
    return done
  }
  BEGIN {
    fixed = ENVIRON["BUDGET_USD"]
    project = ENVIRON["BUDGET_PROJECT"]
    wanted = "project=\"" escaped(project) "\""
  }
  # A sample: name, labels (values may hold blanks and braces, quotes in them are escaped), value.
  match($0, /^(loki_cost_usd|loki_mode_budget_(limit|used)_usd|loki_session_status)(\{([^"}]|"([^"\\]|\\.)*")*\})? /) {
    series = substr($0, 1, RLENGTH - 1)
    split(substr($0, RLENGTH + 1), rest, " ")
    name = series; sub(/\{.*/, "", name)
    labels = substr(series, length(name) + 1)
    if (project != "" && index(labels, wanted) == 0) next
    # NaN and Inf are no figures.
    if (rest[1] !~ /^[0-9.]+([eE][-+]?[0-9]+)?$/) next
    number = rest[1] + 0
    if (name == "loki_session_status") status[labels] = number
    else if (name == "loki_mode_budget_limit_usd") { if (number > 0) own[labels] = number * 0.9 }
    # A used budget of 0 is one that was not reckoned yet, and tells no cost.
    else if (name == "loki_mode_budget_used_usd" && number == 0) next
    else if (!(labels in cost) || number > cost[labels]) cost[labels] = number
  }
  END {
    worst = 3
    for (labels in cost) {
      limit = fixed != "" ? fixed + 0 : (labels in own) ? own[labels] : 4.5
      if (cost[labels] <= limit) { if (worst == 3) worst = 0; continue }
      lives = !(labels in status) || status[labels] > 0
      if (lives && project == "" && labels != "") ambiguous = 1
      else if (lives) to_stop = 1
      worst = 2
      printf "CRITICAL: cost %.2f USD%s exceeds %.2f%s\n", cost[labels], labels, limit, lives ? "" : " (has ended)"
    }
    if (worst == 3) print "UNKNOWN: the page has no cost" (project != "" ? " of " project : "")
    if (ambiguous) print "Nothing is stopped: BUDGET_PROJECT has to say whose session ends here"
    # 9: beyond the limit, and it can be stopped.
    exit to_stop ? 9 : worst
  }'
status=$?
if [ "$status" -eq 9 ]; then
  status=2
  # Words of a command, as in $EDITOR.
  [ -z "$on_exceeded" ] || $on_exceeded
fi
exit "$status"
