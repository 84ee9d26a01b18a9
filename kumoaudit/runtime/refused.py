"""Names that a policy of KumoMTA may use and that are not here: said by name, not as "a nil value"."""

from __future__ import annotations

_MAIL = frozenset(
    """
    amqp api arc configure_bounce_classifier configure_local_logs configure_log_hook configure_redis_throttles
    define_spool disconnect dkim dns http inject_message invoke_get_egress_path_config invoke_get_queue_config
    kafka make_egress_path make_egress_pool make_egress_source make_listener_domain make_queue_config
    make_throttle make_throttle_config mimepart mx nats queue redis reject set_httpinject_threads
    set_qmaint_runtime set_qmaint_threads set_rfc5965_report set_smtpsrv_threads set_spoolin_threads shaping
    spf start_esmtp_listener start_proxy_listener xfer
    """.split()  # noqa: SIM905 - a page of names reads better than a page of quotes
)


def missing(path: str) -> str | None:
    """The message for a field of `kumo...` that does not exist, or None where a plain nil is right."""
    if not path.startswith("kumo."):
        return None
    name = path[5:]
    if name in _MAIL or name.split(".")[0] in _MAIL:
        return f"{path} is not part of this host: kumoaudit records and decides, it handles no mail"
    return f"{path} does not exist in this host"
