class BadBatch(Exception):
    pass
