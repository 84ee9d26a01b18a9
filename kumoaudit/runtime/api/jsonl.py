def exports(host):
    return {}
