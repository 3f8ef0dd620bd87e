"""The environment that our own Label Studio servers run in, setting by setting.

Label Studio reads every setting NAME as LABEL_STUDIO_NAME, HEARTEX_NAME or NAME; feature flags only by their own name.
"""

from __future__ import annotations

FAST_PREDICTION_IMPORT = {
    # Predictions are imported in batches and only the tasks touched are recounted. Without it every import recounts
    # the whole project: 10 s instead of 0.2 s for 500 rows at 10,000 tasks. It is a switch of Label Studio's own,
    # there since 1.16; the price is that nothing checks the rows against the labeling config (we do it ourselves).
    "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short": "true",
}

LOCAL_ADDRESSES = {
    # Two switches, since webhooks and ML backends are guarded apart; both refuse 127.0.0.1 and private networks.
    "SSRF_PROTECTION_ENABLED": "false",  # webhooks
    "ML_BLOCK_LOCAL_IP": "false",  # ML backend
}

SHORT_LOCKS = {
    # A task handed out stays reserved for its annotator for this many seconds (a day by default). Ten minutes give
    # back the tasks of people who closed the tab.
    "TASK_LOCK_TTL": "600",
}

LEGACY_TOKENS = {
    # `Authorization: Token ...`: one header and no refresh every five minutes. Only heeded when the organisation is
    # created, so it has to be there at the very first start.
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
}

QUIET = {
    "LATEST_VERSION_CHECK": "false",  # asks the package index
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",  # both have real addresses as defaults
    "FRONTEND_SENTRY_DSN": "",
    "DEBUG": "false",
    "DISABLE_SIGNUP_WITHOUT_LINK": "true",
    "DJANGO_DB": "sqlite",
}
