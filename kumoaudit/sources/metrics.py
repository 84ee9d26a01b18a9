def prometheus_text(s):
    return b"x 1\n"


def metrics_json(s):
    return b"{}"
