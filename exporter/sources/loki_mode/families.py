"""The metric families of Loki Mode: the nine documented ones first, then what we add."""

from __future__ import annotations

from exporter.source import Family, Kind

SESSION_STATUS = Family(
    "loki_session_status", Kind.GAUGE, "Status of the session: 0 stopped, 1 running, 2 paused."
)
ITERATION_CURRENT = Family("loki_iteration_current", Kind.GAUGE, "Number of the current iteration.")
ITERATION_MAX = Family(
    "loki_iteration_max", Kind.GAUGE, "Largest number of iterations allowed (LOKI_MAX_ITERATIONS)."
)
TASKS = Family(
    "loki_tasks_total",
    Kind.GAUGE,
    "Tasks in the queue by status, a gauge in spite of its name; Loki Mode keeps the last 50 that ended.",
)
AGENTS_ACTIVE = Family("loki_agents_active", Kind.GAUGE, "Agents at work now.")
AGENTS = Family("loki_agents_total", Kind.GAUGE, "Agents registered, a gauge in spite of its name.")
COST = Family(
    "loki_cost_usd", Kind.GAUGE, "Cost of the recorded iterations in USD; absent while nothing was measured."
)
EVENTS = Family("loki_events_total", Kind.COUNTER, "Events recorded in events.jsonl.")
UPTIME = Family("loki_uptime_seconds", Kind.GAUGE, "Time since this session began, 0 when stopped.")

SESSION_INFO = Family(
    "loki_mode_session_info", Kind.INFO, "Phase, provider and Loki Mode version of the session."
)
EVENTS_BY_KIND = Family("loki_mode_events_total", Kind.COUNTER, "Events that could be read, by kind.")
LAST_EVENT = Family(
    "loki_mode_last_event_timestamp_seconds", Kind.GAUGE, "Time that the last event in events.jsonl tells."
)
ITERATIONS = Family("loki_mode_iterations_total", Kind.COUNTER, "Iterations finished, by outcome.")
ITERATION_DURATION = Family(
    "loki_mode_iteration_duration_seconds", Kind.HISTOGRAM, "Time from an iteration's start to its end."
)
TOKENS = Family("loki_mode_tokens", Kind.GAUGE, "Tokens in the records of the iterations, by model and kind.")
MODEL_COST = Family("loki_mode_model_cost_usd", Kind.GAUGE, "Cost of the recorded iterations by model, USD.")
TRACKED_COST = Family(
    "loki_mode_tracked_cost_usd",
    Kind.GAUGE,
    "Loki Mode's own estimate over all sessions of the project (context/tracking.json), USD.",
)
BUDGET_LIMIT = Family("loki_mode_budget_limit_usd", Kind.GAUGE, "Budget of the session, USD.")
BUDGET_USED = Family("loki_mode_budget_used_usd", Kind.GAUGE, "Part of the budget that is used, USD.")
BUDGET_EXCEEDED = Family("loki_mode_budget_exceeded", Kind.GAUGE, "Whether the budget is exceeded (0 or 1).")
CONTEXT_WINDOW = Family(
    "loki_mode_context_window_ratio", Kind.GAUGE, "Part of the model's context window that is in use."
)
COMPACTIONS = Family("loki_mode_context_compactions", Kind.GAUGE, "Context compactions so far.")
QUEUE_TASKS = Family(
    "loki_mode_queue_tasks", Kind.GAUGE, "Tasks in the queues beside the documented ones, by queue."
)
QUALITY_GATE = Family(
    "loki_mode_quality_gate", Kind.GAUGE, "1 for the status that a quality gate has, by gate and status."
)
COUNCIL_VOTES = Family(
    "loki_mode_council_votes_total", Kind.COUNTER, "Votes of the completion council, by vote."
)
RECEIPTS = Family("loki_mode_receipts", Kind.GAUGE, "Evidence receipts on disk, by verdict (v9).")
RECEIPT_PROVENANCE = Family(
    "loki_mode_receipts_with_provenance", Kind.GAUGE, "Receipts with a checkable provenance, by kind (v9)."
)

ALL = (
    SESSION_STATUS,
    ITERATION_CURRENT,
    ITERATION_MAX,
    TASKS,
    AGENTS_ACTIVE,
    AGENTS,
    COST,
    EVENTS,
    UPTIME,
    SESSION_INFO,
    EVENTS_BY_KIND,
    LAST_EVENT,
    ITERATIONS,
    ITERATION_DURATION,
    COUNCIL_VOTES,
    TOKENS,
    MODEL_COST,
    TRACKED_COST,
    BUDGET_LIMIT,
    BUDGET_USED,
    BUDGET_EXCEEDED,
    CONTEXT_WINDOW,
    COMPACTIONS,
    QUEUE_TASKS,
    QUALITY_GATE,
    RECEIPTS,
    RECEIPT_PROVENANCE,
)
