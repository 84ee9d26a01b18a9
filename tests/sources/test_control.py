"""The control socket: who may ask, what is answered, what is recorded, and what happens to it."""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from kumoaudit.core.errors import EnvironmentFault, RecordRefused, UsageError
from kumoaudit.core.spec import RingSpec
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.pipeline.notices import host_event
from kumoaudit.sources.control import Command, ControlSocket, NotRunning, Peer, ask
from tests.crash.support import Contents
from tests.fakes import FakeClock, FaultyDisk, eventually, route_spec
from tests.support import environment, event


class Served:
    """A control socket with three commands; what it records and says."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.recorded: list[tuple[str, str, Peer]] = []
        self.said: list[str] = []
        self.control = ControlSocket(str(data_dir), lambda *record: self.recorded.append(record), self.said.append)
        self.control.commands |= {
            "status": Command(lambda _: {"pid": 1}),
            "echo": Command(lambda request: {"got": request}),
            "reopen": Command(lambda _: {"logs": []}, "admin_reopen"),
            "fail": Command(self._fail, "admin_reload"),
        }

    @staticmethod
    def _fail(_: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("a bug")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    made.control.start()
    yield made
    made.control.stop()


def connected(data_dir: Path) -> socket.socket:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(20)
    s.connect(str(data_dir / "control.sock"))
    return s


def test_a_command_is_answered_with_one_line(served: Served, tmp_path: Path) -> None:
    assert ask(str(tmp_path), {"command": "status"}) == {"pid": 1}
    assert ask(str(tmp_path), {"command": "echo", "n": 1}) == {"got": {"command": "echo", "n": 1}}
    assert (served.recorded, served.said) == ([], [])


def test_a_command_that_changes_something_says_who_asked(served: Served, tmp_path: Path) -> None:
    ask(str(tmp_path), {"command": "reopen"})

    assert served.recorded == [("admin_reopen", "reopen", Peer(os.getpid(), os.geteuid(), os.getegid()))]


@pytest.mark.parametrize("request_", [{"command": "reboot"}, {"command": ["status"]}, {}, ["status"]])
def test_what_is_no_command_is_told_with_those_that_are(served: Served, tmp_path: Path, request_: Any) -> None:
    with pytest.raises(UsageError, match="NAME is one of echo, fail, reopen, status"):
        ask(str(tmp_path), request_)


def test_a_command_that_fails_does_not_close_the_way_in(served: Served, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fail: a bug"):
        ask(str(tmp_path), {"command": "fail"})

    assert ask(str(tmp_path), {"command": "status"}) == {"pid": 1}
    assert [kind for kind, *_ in served.recorded] == ["admin_reload"]


def test_commands_can_be_added_while_it_runs(served: Served, tmp_path: Path) -> None:
    served.control.commands["retention"] = Command(lambda _: {"deleted": 0})

    assert ask(str(tmp_path), {"command": "retention"}) == {"deleted": 0}


def test_lines_may_come_in_parts_or_together(served: Served, tmp_path: Path) -> None:
    with connected(tmp_path) as s, s.makefile("rb") as answers:
        s.sendall(b'{"command"')
        s.sendall(b': "status"}\n\n{"command": "echo"}\nnonsense\n')
        got = [orjson.loads(answers.readline()) for _ in range(3)]
        s.sendall(b'{"command": "status"}')
        s.shutdown(socket.SHUT_WR)
        got.append(orjson.loads(answers.readline()))

    assert got[0] == got[3] == {"pid": 1}
    assert got[1] == {"got": {"command": "echo"}}
    assert "no such command" in got[2]["error"]


def test_a_client_that_says_nothing_keeps_nobody_waiting(served: Served, tmp_path: Path) -> None:
    with connected(tmp_path), connected(tmp_path) as half:
        half.sendall(b'{"comm')

        assert ask(str(tmp_path), {"command": "status"}) == {"pid": 1}


def test_a_line_without_end_is_cut_off(served: Served, tmp_path: Path) -> None:
    with connected(tmp_path) as s, pytest.raises(OSError):
        s.sendall(b"x" * 10_000_000)

    assert ask(str(tmp_path), {"command": "status"}) == {"pid": 1}


def test_nobody_but_its_user_can_open_it(served: Served, tmp_path: Path) -> None:
    st = os.lstat(tmp_path / "control.sock")

    assert stat.S_ISSOCK(st.st_mode)
    assert stat.S_IMODE(st.st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_even_when_the_mode_was_changed(served: Served, tmp_path: Path) -> None:
    """The kernel's word on who it is counts (SO_PEERCRED)."""
    os.chmod(tmp_path, 0o755)
    os.chmod(tmp_path / "control.sock", 0o666)
    ask_as_nobody = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
os.chdir(sys.argv[1])
os.setgid(65534); os.setuid(65534)
s.connect("control.sock")
try:
    s.sendall(b'{"command": "reopen"}\\n')
except BrokenPipeError:
    pass
print(s.makefile().readline(), end="")
"""
    done = subprocess.run(
        [sys.executable, "-c", ask_as_nobody, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )

    assert "only root and the host's user may ask" in done.stdout, done.stderr
    assert served.recorded == []


def test_the_socket_of_a_host_that_was_killed_is_replaced(served: Served, tmp_path: Path) -> None:
    again = Served(tmp_path)
    again.control.start()

    assert again.said == []
    assert ask(str(tmp_path), {"command": "status"}) == {"pid": 1}

    served.control.stop()
    assert ask(str(tmp_path), {"command": "status"}) == {"pid": 1}, "the other's socket was removed"
    again.control.stop()
    assert not (tmp_path / "control.sock").exists()


def test_a_file_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "control.sock").write_text("precious")
    made = Served(tmp_path)

    made.control.start()
    made.control.stop()

    assert "something that is no socket is in its place" in made.said[0]
    assert (tmp_path / "control.sock").read_text() == "precious"


@pytest.mark.parametrize("length", [107, 108, 250])
def test_a_path_of_any_length_will_do(tmp_path: Path, length: int) -> None:
    """The address of a socket holds 107 bytes."""
    directory = tmp_path
    while (missing := length - len(str(directory / "control.sock"))) > 0:
        directory = directory / ("d" * max(1, min(100, missing - 1)))
    if len(str(directory / "control.sock")) < length:
        directory = directory.with_name(directory.name + "d")
    made = Served(directory)
    made.control.start()

    assert made.said == []
    assert ask(str(directory), {"command": "status"}) == {"pid": 1}
    made.control.stop()
    assert not (directory / "control.sock").exists()


@pytest.mark.parametrize("prepare", [lambda d: None, lambda d: d.mkdir(), lambda d: d.write_text("")])
def test_where_no_host_runs_that_is_said(tmp_path: Path, prepare: Callable[[Path], object]) -> None:
    prepare(tmp_path / "d")

    with pytest.raises(NotRunning, match="no host is running in "):
        ask(str(tmp_path / "d"), {"command": "status"})


def test_a_socket_that_nobody_listens_at_is_no_host(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(tmp_path / "control.sock"))

    with pytest.raises(NotRunning):
        ask(str(tmp_path), {"command": "status"})


def test_a_host_that_does_not_answer_is_told_from_none(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.bind(str(tmp_path / "control.sock"))
        deaf.listen(1)

        with pytest.raises(EnvironmentFault, match="does not answer within") as caught:
            ask(str(tmp_path), {"command": "status"}, timeout_s=0.05)

    assert not isinstance(caught.value, NotRunning)


def test_it_answers_although_the_process_has_no_descriptor_left(tmp_path: Path) -> None:
    """As the log does, the control socket keeps one: who has to find out what is wrong can still ask."""
    code = """
import os, resource, sys
from pathlib import Path
from tests.sources.test_control import Served
made = Served(Path(sys.argv[1]))
made.control.start()
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
print("ready", flush=True)
sys.stdin.read()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "ready\n"
        for _ in range(3):
            assert ask(str(tmp_path), {"command": "status"}) == {"pid": 1}
    finally:
        child.stdin.close()
        child.wait(60)
        child.stdout.close()


# -- what a command leaves in the logs --------------------------------------------------------------------------------


def test_a_record_that_no_log_has_room_for_is_made_as_soon_as_one_has(tmp_path: Path) -> None:
    """Reliability, section 2, the escape hatch: recorded as soon as it can be, and nobody waits for it."""
    disk, said = FaultyDisk(), list[str]()
    pipeline = Pipeline(str(tmp_path / "data"), "alpha", disk, FakeClock(), said.append)
    spec = route_spec(tmp_path / "a", ring=RingSpec(4096, 2), block_timeout_ns=0)
    route = pipeline.open_log(spec)
    disk.fail("write", 28, for_ever=True, path=str(tmp_path / "a"))

    def fill() -> None:
        for _ in range(100):
            pipeline.emit(event(description="x" * 900))

    with pytest.raises(RecordRefused):
        fill()
    made = host_event(pipeline.clock, "alpha", "admin_reopen", "reopen", {"uid": 0}, user="root")

    pipeline.housekeeping.announce(made, "", is_kept=True)
    eventually(lambda: pipeline.default and pipeline.default.ring.accepted, "the default log has it at once")
    assert not route.ring.takes_now(1000)

    disk.heal()
    clock = pipeline.clock
    assert isinstance(clock, FakeClock)

    def is_told() -> bool:
        clock.advance(1.0)
        pipeline.housekeeping.tell_kept()
        return b"admin_reopen" in b"".join(bytes(route.ring.view(b, 0, 4096)) for b in (0, 1))

    eventually(is_told, "the log has it when it has room")
    pipeline.close()
    for place in ("a", "data/log"):
        records = [r for r in map(orjson.loads, Contents(tmp_path / place).lines) if r["type"] == "admin_reopen"]
        assert [(r["kind"], r["user"], r["detail"]) for r in records] == [("admin", "root", {"uid": 0})]


def test_the_size_of_the_kernels_answer_about_a_peer_is_as_expected() -> None:
    assert struct.calcsize("3i") == len(
        socket.socketpair(socket.AF_UNIX)[0].getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 64)
    )
