"""`kumo.secrets.load`: KumoMTA's keysources (section 6.3); a secret never stands in a message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kumoaudit.core.errors import PolicyError
from tests.policies import Inside, run_policy

SECRET = "hunter2-\\255\\0-secret"


def test_a_key_comes_from_a_file_from_the_policy_or_from_a_handler(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"from\0file\xff\n")
    ran = run_policy(
        tmp_path,
        """
        kumo.on('fetch_key', function(name, n)
          kumo.sleep(0.01)
          return name .. n
        end)
        kumo.on('main', function()
          print(kumo.secrets.load 'key' == 'from\\0file\\255\\n')
          print(kumo.secrets.load { key_data = 'a\\0\\255' } == 'a\\0\\255')
          print(kumo.secrets.load { event_name = 'fetch_key', event_args = { 'db', 7 } })
          print(kumo.digest.hmac_sha256('key', 'm') == kumo.digest.hmac_sha256({ key_data = 'from\\0file\\255\\n' }, 'm'))
          local k = kumo.secrets.load 'no/such/key'
        end)
        """,
        script_args=(),
    )

    assert ran.out.splitlines() == ["true", "true", "db7", "true"]
    assert ran.code == 1
    assert ran.err.startswith(
        "policy.lua:11: kumo.secrets.load: KeySource failed to load data from file no/such/key: no such file or directory"
    )


def test_what_is_no_keysource_is_refused_by_name(refused: Callable[..., list[str]]) -> None:
    forms = "\n  forms: 'path', { key_data = '...' }, { event_name = '...', event_args = { ... } }"

    assert refused(
        "kumo.secrets.load()",
        "kumo.secrets.load {}",
        "kumo.secrets.load { key_date = 'x' }",
        "kumo.secrets.load { key_data = 5 }",
        "kumo.secrets.load { event_name = 'nobody' }",
        "kumo.secrets.load { vault_mount = 'secret', vault_path = 'x' }",
        "kumo.secrets.load ''",
    ) == [
        f"kumo.secrets.load: expected a keysource, got a nil{forms}",
        f"kumo.secrets.load: keysource: expected a path, key_data or event_name{forms}",
        f"kumo.secrets.load: keysource: unknown option 'key_date'{forms}",
        "kumo.secrets.load: keysource: key_data: expected a text, got a number",
        "kumo.secrets.load: keysource: Event nobody has not been registered\n"
        "  register it with kumo.on('nobody', function(...) end)",
        "kumo.secrets.load: keysource: the key-value vault (vault_mount) is not offered by this host\n"
        "  write the secret to a file that only the host may read and give its path, or fetch it in a handler: "
        "{ event_name = '...' }",
        "kumo.secrets.load: KeySource failed to load data from file '': not a path",
    ]


@pytest.mark.parametrize(
    "call",
    [
        "kumo.secrets.load { key_data = { S } }",
        "kumo.secrets.load { event_name = 'bad' }",
        "kumo.secrets.load { event_name = 'bad', event_args = S }",
        "kumo.secrets.load { vault_token = S, vault_path = 'x' }",
        "kumo.secrets.load { key_dato = S }",
        "kumo.digest.hmac_sha256({ key_data = S })",
        "kumo.encode.base64_decode(S)",
        "kumo.encode.hex_decode(S)",
        "kumo.serde.json_parse(S)",
        "kumo.serde.toml_parse(S)",
    ],
)
def test_no_error_shows_a_secret(call: str, host: Callable[[str], Inside]) -> None:
    running = host(
        f"local S = '{SECRET}'\nkumo.on('bad', function() return {{ S }} end)\nkumo.on('go', function() local x = {call} end)"
    ).host

    with pytest.raises(PolicyError) as e:
        running.call("go")

    assert e.value.message
    assert "hunter2" not in e.value.message
    assert "secret" not in e.value.message.replace("kumo.secrets.load", "").replace("write the secret", "")


def test_names_of_files_are_found_by_pattern_and_directory(tmp_path: Path, lua: Callable[..., Any]) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    for name in ("b.toml", "a.toml", "x.txt", "sub/c.toml"):
        (tmp_path / "d" / name).touch()
    base = str(tmp_path)

    assert lua(
        """
        return kumo.fs.glob 'd/*.toml', kumo.glob('**/*.toml', 'd'), kumo.fs.read_dir 'd', kumo.read_dir('d/sub'),
          #kumo.fs.glob 'none/*', kumo.fs.glob((...) .. '/d/x*')
        """,
        base,
    ) == [
        [f"{base}/d/a.toml", f"{base}/d/b.toml"],
        ["a.toml", "b.toml", "sub/c.toml"],
        [f"{base}/d/a.toml", f"{base}/d/b.toml", f"{base}/d/sub", f"{base}/d/x.txt"],
        [f"{base}/d/sub/c.toml"],
        0,
        [f"{base}/d/x.txt"],
    ]


def test_file_functions_say_what_they_expect(refused: Callable[..., list[str]]) -> None:
    assert refused(
        "kumo.fs.read_dir 'no'",
        "kumo.fs.glob(5)",
        "kumo.glob('*', 'x', 'y')",
        "kumo.encode.hex_encode('a', 'b')",
        "kumo.bump_config_epoch(1)",
    ) == [
        "kumo.fs.read_dir: reading directory no: no such file or directory",
        "kumo.fs.glob: expected a pattern, got number",
        "kumo.glob: ttl_seconds: expected a number of seconds, got string",
        "kumo.encode.hex_encode: takes 1 argument, got 2",
        "kumo.bump_config_epoch: takes 0 arguments, got 1",
    ]


def test_a_call_that_is_returned_names_at_least_its_handler(host: Callable[[str], Inside]) -> None:
    """A tail call leaves no line of the policy on Lua's stack."""
    running = host("local x = 1\nkumo.on('go', function()\n  return kumo.serde.toml_load 'none'\nend)").host

    with pytest.raises(PolicyError) as e:
        running.call("go")

    assert e.value.message.endswith("policy.lua:2: kumo.serde.toml_load: reading file none: no such file or directory")
