"""Names that a policy of KumoMTA may use and that are not here: said by name, not as "a nil value"."""

from __future__ import annotations

_MAIL = frozenset(
    ["start_esmtp_listener", "start_proxy_listener", "define_spool", "configure_local_logs", "configure_log_hook", "configure_bounce_classifier", "configure_redis_throttles", "make_egress_path", "make_egress_pool", "make_egress_source", "make_queue_config", "reject", "disconnect", "inject_message", "make_listener_domain", "make_throttle", "set_rfc5965_report", "make_http_client", "api.inject", "bounce_queue", "ready_queue", "set_config", "queue", "amqp", "nats", "kafka", "redis", "shaping", "xfer", "dkim", "dns", "mimepart", "spf", "arc", "rfc5321", "mx", "http", "make_throttle_config", "set_smtpsrv_threads", "set_qmaint_threads", "set_qmaint_runtime", "invoke_get_egress_path_config", "invoke_get_queue_config", "set_spoolin_threads", "set_httpinject_threads"]
)

_OFFERED_LATER: dict[str, str] = {}


def missing(path: str) -> str | None:
    """The message for a field of `kumo...` that does not exist, or None where a plain nil is right."""
    if not path.startswith("kumo."):
        return None
    name = path[5:]
    if name in _MAIL or name.split(".")[0] in _MAIL:
        return f"{path} is not part of this host: kumoaudit records and decides, it handles no mail"
    return f"{path} does not exist in this host"
