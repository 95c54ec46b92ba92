"""No secret in a message or a file of a run, and no file with configuration that others may read."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from gdro.cli import main
from gdro.common.untrusted import HIDDEN, hidden, is_secret, plain, shown, without_secrets
from gdro.recipes.run_folder import KEPT, differing, keep
from gdro.recipes.schema import RecipeError, load_recipe

KEY = "sk-test/0123+456789\"abc'def\\ghi"
FORMS = [
    KEY,
    json.dumps({"k": KEY}),
    repr(KEY),
    "sk-test%2F0123%2B456789%22abc%27def%5Cghi",
    "c2stdGVzdC8wMTIzKzQ1Njc4OSJhYmMnZGVmXGdoaQ==",
    f"Authorization: Bearer {KEY}",
    f"x{KEY}y{KEY}",
]
ADDRESSES = [
    ("https://me:pw@host/v1", "https://***@host/v1"),
    ("https://me:p@ss:w@host:8000/v1 x", "https://***@host:8000/v1 x"),
    ("https://me:a/b@host/v1", "https://***@host/v1"),
    ("'http://token@host'", "'http://***@host'"),
    ("https:/me:pw@host/x.parquet", "https:/***@host/x.parquet"),
    ("wss://u:p@[::1]:9/", "wss://***@[::1]:9/"),
    ("postgres+x://u:p@h/db", "postgres+x://***@h/db"),
    ("http://h/v1?api_key=abc&n=1#f", "http://h/v1?api_key=***&n=1#f"),
    ("http://h/?X-Amz-Signature=abc", "http://h/?X-Amz-Signature=***"),
    # Nothing to hide.
    ("http://localhost:8000/v1/models/@me", "http://localhost:8000/v1/models/@me"),
    ("write to a@b.c, see http://h:80 now", "write to a@b.c, see http://h:80 now"),
]
KEYS = [
    "sk-0123456789abcdefghij",
    "hf_ABCDEFGHIJKLMNOPQRST",
    "ghp_" + "a1" * 15,
    "AKIA" + "A1" * 8,
    "xoxb-123456789012",
    "Bearer abcd.efgh",
    "Basic dTpwdw==",
]
CONTROLS = [
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x1b[2J",
    "\x00",
    "\x08",
    "\x7f",
    "\x9b",
    "\u202e",
    "\u2066",
    "\u200b",
    "\ufeff",
    "\x85",
    "\u2028",
    "\u2029",
    "\r",
    "\ud800",
    "\U000e0041",
]


@pytest.mark.parametrize("text", FORMS)
def test_a_known_secret_is_hidden_in_each_form(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "0123" not in hidden(text, [KEY]) and "MDEyM" not in hidden(text, [KEY])
    monkeypatch.setenv("MY_API_KEY", KEY)
    assert "0123" not in shown(text) and HIDDEN in shown(text)


@pytest.mark.parametrize(("text", "wanted"), ADDRESSES)
def test_passwords_of_addresses_are_hidden(text: str, wanted: str) -> None:
    assert hidden(text) == wanted


@pytest.mark.parametrize("key", KEYS)
def test_what_has_the_form_of_a_key_is_hidden(key: str) -> None:
    assert key.split()[-1] not in hidden(f"server says {key}, no") and "no" in hidden(f"no {key}")


@pytest.mark.parametrize("mark", CONTROLS)
def test_nothing_moves_the_cursor_or_hides(mark: str) -> None:
    said = shown(f"a{mark}b")
    assert all(c.isprintable() for c in said) and said[0] == "a" and said[-1] == "b"
    # Put together again, and then looked for.
    assert "sk-0123456789abcdefghij" not in shown(f"sk-0123456{mark}789abcdefghij")
    said.encode()


def test_length_is_bounded_and_a_cut_leaves_no_half_of_a_key() -> None:
    for before in (*range(250, 300), 18_976 - 20, 19_990):
        said = shown(" " * 3 + "x" * before + " " + KEY + "y" * 30_000, [KEY])
        assert len(said) <= 300 and "sk-t" not in said
    hollow = "\x00" * (20_000 - 10) + KEY
    assert "sk-t" not in shown(hollow, [KEY])
    assert plain("a\nb") == "a\nb"


def test_options_that_hold_secrets() -> None:
    for name in (
        "hub_token",
        "trl.hub_token",
        "token",
        "task_options.api_key",
        "password",
        "client_secret",
    ):
        assert is_secret(name), name
    for name in ("eos_token", "pad_token", "max_tokens", "tokenizer", "key", "id_column", "num_tokens"):
        assert not is_secret(name), name
    data = {"a": [{"password": "x", "url": "http://u:p@h"}], "hub_token": "${oc.env:T}", "seed": 1}
    found = without_secrets(data)
    assert found == {
        "a": [{"password": "***", "url": "http://***@h"}],
        "hub_token": "${oc.env:T}",
        "seed": 1,
    }


OVERRIDES = [
    "trl.hub_token=${oc.env:SOME_TOKEN}",
    "task_options.deep.list=['x', '${oc.env:SOME_TOKEN}']",
    "task_options.same=${trl.hub_token}",
    "task_options.all=${trl}",
    "task_options.model=${oc.env:MODEL}",
    "task_options.where=https://u:${oc.env:PW}@h/",
    "task_options.lr=${oc.decode:${oc.env:LR}}",
    "description=${oc.env:SOME_TOKEN}",
    "arms.grpo.options.note=${oc.env:SOME_TOKEN}",
    "architecture.api_key=literal-secret",
    "task_options.literal=https://u:literal-secret@h/",
]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in (("SOME_TOKEN", "secret-12345"), ("MODEL", "a"), ("PW", "pw-12345"), ("LR", "3")):
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_interpolations_are_kept_as_written(tmp_path: Path, given: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("quickstart", OVERRIDES)
    assert recipe.trl["hub_token"] == recipe.task_options["all"]["hub_token"] == "secret-12345"
    keep(recipe, tmp_path)
    text = (tmp_path / KEPT).read_text()
    assert not [word for word in ("secret-12345", "pw-12345", "literal-secret") if word in text]
    kept = json.loads(text)
    assert kept["trl"]["hub_token"] == "${oc.env:SOME_TOKEN}" and kept["task_options"]["lr"] == 3
    assert stat.S_IMODE((tmp_path / KEPT).stat().st_mode) == 0o600
    assert differing(recipe, tmp_path, ["grpo"]) == []
    # A renewed token is the same recipe; another model or number is not.
    given.setenv("SOME_TOKEN", "secret-67890")
    assert differing(load_recipe("quickstart", OVERRIDES), tmp_path, ["grpo"]) == []
    given.setenv("MODEL", "b")
    given.setenv("LR", "4")
    lines = differing(load_recipe("quickstart", OVERRIDES), tmp_path, ["grpo"])
    assert lines == [
        "task_options.lr is 4, there 3",
        "task_options.model is ${oc.env:MODEL}, which had another value there",
    ]


def test_a_secret_of_the_folders_recipe_is_not_quoted(tmp_path: Path, given: pytest.MonkeyPatch) -> None:
    keep(load_recipe("quickstart", ["task_options.a=secret-12345"]), tmp_path)
    (line,) = differing(load_recipe("quickstart", ["task_options.a=b"]), tmp_path, ["grpo"]) or []
    assert "12345" not in line


def test_the_command_line_quotes_no_secret(
    capsys: pytest.CaptureFixture[str], given: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given.chdir(tmp_path)
    for command in (
        ["eval", "--model", "m", "--data", "gsm8k", "--server", "ftp://u:pw-12345@h/v1"],
        ["eval", "--model", "m", "--data", "https://u:pw-12345@h/x.parquet"],
        ["train", "--recipe", "https://u:pw-12345@h/x.yaml"],
        ["train", "seed=secret-12345"],
        ["train", "trl.beta=secret-12345"],
        ["report", "https://u:pw-12345@h"],
        ["strategies", "secret-12345"],
        ["secret-12345"],
        ["study", "https://u:pw-12345@h/x.yaml"],
        ["data", "--https://u:pw-12345@h"],
        ["simulate", "seed=${oc.env:SOME_TOKEN}"],
        ["eval", "--k", "secret-12345"],
        ["data", "x\x1b[31m\u202e.parquet"],
    ):
        try:
            status = main(command)
        except SystemExit as ended:
            status = ended.code
        said = capsys.readouterr()
        assert status == 2 and "12345" not in said.err + said.out, command
        assert all(c.isprintable() or c == "\n" for c in said.err), command
        assert "Traceback" not in said.err


def test_a_secret_of_the_wrong_type_is_not_quoted(tmp_path: Path) -> None:
    from gdro.recipes.run import trl_config

    with pytest.raises(RecipeError, match=r"trl.hub_token is \*\*\*; it must be"):
        trl_config(load_recipe("quickstart", ["trl.hub_token=1234567"]), tmp_path)
