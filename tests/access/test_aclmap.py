"""ACL map files (KumoMTA, section 3.4): what is valid, what is refused and on which line, and the built-in one."""

from __future__ import annotations

from typing import Any

import pytest

from kumoaudit.access.aclmap import default_acl, load_acl_map
from kumoaudit.access.criteria import AllOf, Anyone, Authenticated, Group, Machine, shape
from kumoaudit.core.errors import ConfigError
from tests.support import vectors

VECTORS = vectors("kumomta_acl.json")
HEAD = '[[acl."r"]]\nallow = true\nprivileges = ["GET"]\n'


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as e:
        load_acl_map(text, "acl.toml")
    return str(e.value)


@pytest.mark.parametrize("case", VECTORS["acl_toml_validity"], ids=lambda c: c["name"])
def test_what_kumomta_takes_is_taken_and_what_it_refuses_refused(case: dict[str, Any]) -> None:
    if case["valid"]:
        assert load_acl_map(case["toml"], "acl.toml").acls
    else:
        said = problems(case["toml"])
        assert all(word in said for word in case.get("error_must_mention", ()))


def test_several_privileges_are_several_rules_in_order_and_entries_keep_theirs() -> None:
    text = (
        '[[acl."a"]]\nallow = true\nprivileges = ["GET", "PUT"]\nidentity = "Any"\n'
        '[[acl."b"]]\nallow = true\nprivileges = ["GET"]\nidentity = "Any"\n'
        '[[acl."a"]]\nallow = false\nprivileges = ["GET"]\nidentity.Authenticated = {}\n'
    )
    found = load_acl_map(text, "acl.toml")

    a = found.get("a")
    assert a is not None
    assert [(r.privilege, r.allow, r.at, r.criteria) for r in a.rules] == [
        ("GET", True, "acl.toml:1", Anyone()),
        ("PUT", True, "acl.toml:1", Anyone()),
        ("GET", False, "acl.toml:9", Authenticated()),
    ]
    assert a.source == "acl.toml"
    assert found.get("c") is None
    assert [(e.resource, e.number) for e in found.entries] == [("a", 1), ("a", 2), ("b", 1)]


@pytest.mark.parametrize(
    "text",
    [
        "[acl]\n", "acl = {}\n", "acl.r = []\n", HEAD + 'criteria.Identity = "Any"\n',
        '[[acl."r"]]\nallow = true\nprivileges = []\nidentity = "Any"\n',
        'acl."r" = [{allow = true, privileges = ["GET"], identity = "Any"}]\n',
        HEAD + "criteria.AllOf = []\n", HEAD + "criteria.Not.Identity.Any = {}\n",
        HEAD + 'criteria.AnyOf = [{Machine = "10.0.0.1"}, {Group = "ops"}]\n', HEAD + "identity.MachineSet = []\n",
    ],
)  # fmt: skip
def test_these_files_are_valid(text: str) -> None:
    assert load_acl_map(text, "acl.toml").name == "acl.toml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "acl.toml:1: no table 'acl': this is no ACL map"),
        ("# nothing\n", "no table 'acl'"),
        ("acl = 1\n", "acl.toml:1: acl: expected a table of resources, got 1"),
        ("[acl]\n[rules]\n", "acl.toml:2: unknown top-level key 'rules'"),
        ("\n[[acls.r]]\n", "acl.toml:2: unknown top-level key 'acls'\n  did you mean 'acl'?"),
        ('[[http_listener]]\nallow=true\n', "did you mean [[acl.\"http_listener\"]]?"),
        ('[acl."r"]\nallow = true\n', "acl.toml:1: r: expected an array of tables, got a plain table\n  write [[acl.\"r\"]]"),
        ('[acl]\nr = "x"\n', 'acl.toml:2: r: expected an array of tables, got "x"'),
        ('[acl]\nr = ["x"]\n', 'r, entry 1: expected a table, got "x"'),
        (HEAD + "identity.Any = []\n", "acl.toml:4: r, entry 1: identity.Any: takes no value"),
        (HEAD + "identity.Any = true\n", "takes no value, got true"),
        (HEAD + "identity.Any = {x=1}\n", "takes no value, got a table"),
        (HEAD + 'identity = {Group="a", Individual="b"}\n', "a table with a single key, got 2 keys: Group, Individual"),
        (HEAD + "criteria = {AllOf=[], AnyOf=[]}\n", "a table with a single key"),
        (HEAD + 'identity.User = "bob"\n', "expected one of Individual, Group, Machine, MachineSet, Authenticated"),
        (HEAD, "acl.toml:1: r, entry 1: neither 'identity' nor 'criteria'; exactly one is needed"),
        (HEAD + 'identity = "Any"\ncriteria.AllOf = []\n', "acl.toml:5: r, entry 1: both 'identity' and 'criteria'"),
        (HEAD + 'identity = "Any"\nprivilege = "x"\n', "acl.toml:5: r, entry 1: unknown key 'privilege'\n  did you mean 'privileges'?"),
        ('[[acl."r"]]\nallow = "true"\nprivileges = ["GET"]\nidentity = "Any"\n', 'acl.toml:2: r, entry 1: allow: expected true or false, got "true"'),
        ('[[acl."r"]]\nallow = 1\nprivileges = ["GET"]\nidentity = "Any"\n', "allow: expected true or false, got 1"),
        ('[[acl."r"]]\nallow = true\nprivileges = "GET"\nidentity = "Any"\n', 'acl.toml:3: r, entry 1: privileges: expected an array of texts, got "GET"\n  write privileges = ["GET"]'),
        ('[[acl."r"]]\nallow = true\nprivileges = [1]\nidentity = "Any"\n', "privileges: expected texts, got 1"),
        (HEAD + 'identity.MachineSet = ["10.0.0.1/8"]\n', "did you mean '10.0.0.0/8'"),
        (HEAD + "identity.Group = 1979-05-27\n", "expected a text, got 1979-05-27"),
        (HEAD + "identity = nonsense\n", "acl.toml:4: not TOML: Invalid value, column 12"),
        ('[[acl."r"]]\nallow = true\nprivileges = ["GET"', "acl.toml:3: not TOML: "),
        ('[[acl."r"]]\nallow = true\nallow = true\n', "acl.toml:3: not TOML: Cannot overwrite a value"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_line_resource_and_entry(text: str, said: str) -> None:
    assert said in problems(text)


def test_all_problems_of_a_file_come_at_once() -> None:
    text = (
        '# one\n[[acl."a"]]\nallow = true\nprivilegs = ["GET"]\nidentity = "Any"\n\n'
        "[[acl . 'b']] # two\nallow = true\nprivileges = [\n  'GET', # ]\n  'PUT',\n]\nidentity.Grop = \"\"\"\n[[acl.b]]\n\"\"\"\n\n"
        '[[acl.b]]\nprivileges = []\n[acl.b.criteria]\nAllOf = [{Identity = "Anybody"}]\n'
    )
    found = problems(text).split("\n")

    assert [line for line in found if not line.startswith("  ")] == [
        "acl.toml:4: a, entry 1: unknown key 'privilegs'",
        "acl.toml:2: a, entry 1: missing key 'privileges'",
        "acl.toml:13: b, entry 1: identity: unknown word 'Grop'",
        "acl.toml:17: b, entry 2: missing key 'allow'",
        "acl.toml:19: b, entry 2: criteria.AllOf[1].Identity: unknown word 'Anybody'",
    ]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('acl.r = [\n  {allow=true, privileges=["]"], identity="Any"},\n  # {\n  {allow=true, privileges=[], identity="Any"},\n]\n', [2, 4]),
        ('[acl]\n"r" = [{allow=true, privileges=[], identity="Any"}]\n', [2]),
        ('acl = {r = [\n{allow=true, privileges=[], identity="Any"}]}\n', [1]),
        ('[[acl."r"]]\r\nallow=true\r\nprivileges=[]\r\nidentity="Any"\r\n[[acl.r]]\r\nallow=true\r\nprivileges=[]\r\nidentity="Any"\r\n', [1, 5]),
        ('[[acl."\\u0072"]]\nallow=true\nprivileges=[]\nidentity="Any"\n', [1]),
        ('\n\n[[ "acl".r ]]\nallow=true\nprivileges=["""\n"""]\nidentity="Any"\n[[acl.r]]\nallow=true\nprivileges=[]\nidentity="Any"', [3, 8]),
        ("[[acl.r]]\nallow=true\nprivileges=['''a''''']\nidentity='Any'\n[[acl.r]]\nallow=true\nprivileges=[]\nidentity='Any'", [1, 5]),
    ],
)  # fmt: skip
def test_the_line_of_an_entry_is_found_in_every_form_or_that_of_what_holds_it(text: str, places: list[int]) -> None:
    assert [e.at for e in load_acl_map(text, "f").entries] == [f"f:{n}" for n in places]


def test_arrays_of_tables_in_criteria_belong_to_the_entry_before() -> None:
    text = (
        HEAD + '[[acl."r".criteria.AllOf]]\nIdentity.Authenticated = {}\n[[acl."r".criteria.AllOf]]\nMachine = "::1"\n'
    )
    found = load_acl_map(text, "f").get("r")

    assert found is not None
    assert found.rules[0].criteria == AllOf((Authenticated(), Machine("::1")))


def test_toml_nested_too_deeply_is_a_problem_and_not_a_crash() -> None:
    assert "acl.toml: tables or arrays are nested too deeply" in problems("acl = " + "[" * 20_000)


def test_the_built_in_map_holds_kumomtas_rules_in_order_and_ours_behind() -> None:
    theirs = [
        (e["resource"], e["allow"], tuple(e["privileges"]), next(iter(e["identity"]))) for e in VECTORS["default_acl"]
    ]
    found = [
        (
            e.resource,
            e.allow,
            e.privileges,
            next(iter(i)) if isinstance(i := shape(e.criteria)["Identity"], dict) else i,
        )
        for e in default_acl().entries
    ]

    assert found[: len(theirs)] == theirs
    assert {r.removeprefix("http_listener/*/") for r, *_ in found[len(theirs) :]} == {
        "api/audit/records/v1", "api/audit/check/v1", "api/audit/query/v1", "admin/auditlog/list",
    }  # fmt: skip
    assert default_acl() is default_acl()


def test_a_rule_of_the_built_in_map_knows_its_line() -> None:
    found = default_acl().get("http_listener/*/api/inject")

    assert found is not None
    assert [type(r.criteria) for r in found.rules] == [Group, Authenticated]
    assert all(r.at.startswith("default_acl.toml:") for r in found.rules)
    assert found.rules[0].at != found.rules[1].at
