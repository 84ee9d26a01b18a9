"""Ids: unique in threads and forks, of the promised form, found in any case."""

from __future__ import annotations

import os
import threading
import uuid

from kumoaudit.core.ids import is_uuid, looks_like_id, ulid, uuid4
from tests.support import SECOND, T0


def test_a_uuid_is_of_version_4_and_lower_case() -> None:
    for _ in range(2000):
        text = uuid4()
        assert uuid.UUID(text).version == 4
        assert uuid.UUID(text).variant == uuid.RFC_4122
        assert text == text.lower()
        assert is_uuid(text)


def test_ulids_sort_by_time_and_state_it() -> None:
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    ids = [ulid(T0 + n * SECOND) for n in range(100)]

    assert ids == sorted(ids)
    number = 0
    for c in ids[3][:10]:
        number = number * 32 + alphabet.index(c)
    assert number == (T0 + 3 * SECOND) // 1_000_000
    assert all(len(i) == 26 for i in ids)


def test_threads_never_get_the_same_id() -> None:
    found: list[str] = []

    def draw() -> None:
        found.extend(uuid4() for _ in range(3000))

    threads = [threading.Thread(target=draw) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()

    assert len(set(found)) == 8 * 3000


def test_a_forked_child_does_not_repeat_its_parents_ids() -> None:
    uuid4()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, uuid4().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    childs = os.read(read, 100).decode()
    os.close(read)
    os.close(write)

    assert childs not in {uuid4() for _ in range(600)}


def test_ids_are_ids_in_any_case_and_other_texts_are_none() -> None:
    text = ulid(T0)

    assert looks_like_id(text)
    assert looks_like_id(text.lower())
    assert looks_like_id(uuid4().upper())
    assert not looks_like_id("12345")
    assert not looks_like_id(text + "0")
    assert not looks_like_id("8" + text[1:])
