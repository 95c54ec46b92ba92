"""No secret in a message or a file of a run, and no file with configuration that others may read."""

from __future__ import annotations

import base64
import html
import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.cli import main
from gdro.common.redaction import hidden, without_secrets
from gdro.common.secret_forms import HIDDEN, masked
from gdro.common.secret_names import is_secret, names_secret, secrets_of
from gdro.common.untrusted import plain, shown
from gdro.recipes.run_folder import KEPT, differing, keep
from gdro.recipes.schema import RecipeError, load_recipe

ROOT = Path(__file__).parents[2]
KEY = "sk-test/0123+456789\"abc'def\\ghi"
FORMS = [
    KEY,
    json.dumps({"k": KEY}),
    repr(KEY),
    "sk-test%2F0123%2B456789%22abc%27def%5Cghi",
    "c2stdGVzdC8wMTIzKzQ1Njc4OSJhYmMnZGVmXGdoaQ==",
    f"Authorization: Bearer {KEY}",
    f"x{KEY}y{KEY}",
    "sk-test%2f0123%2b456789%22abc%27def%5cghi",
    "sk-test%252F0123%252B456789%2522abc%2527def%255Cghi",
    html.escape(KEY),
    html.escape(html.escape(KEY)),
    "".join(f"&#x{ord(c):X};" for c in KEY),
    json.dumps(json.dumps(KEY)),
    "sk-test\\/0123+456789\\u0022abc\\u0027def\\\\ghi",
    KEY[:9] + "\r\n " + KEY[9:20] + "\n\t" + KEY[20:],
    repr(KEY[:9] + "\r\n\t" + KEY[9:]),
    base64.b64encode(f"me:{KEY}:x".encode()).decode(),
    base64.urlsafe_b64encode(f"m:{KEY}".encode()).decode(),
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
    ("http://user:pa'ss@host/v1", "http://***@host/v1"),
    ("http://user:pa\"s's@host/v1", "http://***@host/v1"),
    ("http:\\/\\/me:pw@host", "http:\\/\\/***@host"),
    ("proxy //me:pw@host:8", "proxy //***@host:8"),
    ("http://h/?next=http%3A%2F%2Fme%3Apw%40host%2F", "http://h/?next=http%3A%2F%2F***%40host%2F"),
    ("http://h/?pwd=abc&a=b", "http://h/?pwd=***&a=b"),
    ("http://h/?a=b&amp;token=abc", "http://h/?a=b&amp;token=***"),
    ("http://h/?auth=abc;access_token=d", "http://h/?auth=***;access_token=***"),
    ("http://h/%3Fapi_key%3Dabc%26n=1", "http://h/%3Fapi_key%3D***%26n=1"),
    ("http://h/#id_token=abc", "http://h/#id_token=***"),
    ("http://h/?key=abc", "http://h/?key=***"),
    ("https://hooks.slack.com/services/T0/B0/abc", "https://hooks.slack.com/services/***"),
    # Nothing to hide.
    ("{'url':'http://h:80','mail':'a@b'}", "{'url':'http://h:80','mail':'a@b'}"),
    ("http://h/?sort_key=a&max_tokens=5&keyword=k", "http://h/?sort_key=a&max_tokens=5&keyword=k"),
    ("<http://h:80>,<a@b>", "<http://h:80>,<a@b>"),
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
    "sk_live_0123456789abcdef",
    "sk-proj-Ab0123456789_cdefghij-klmno",
    "glpat-abcdefghijklmnop1234",
    "gsk_abcdefghijklmnop1234abcd",
    "nvapi-abcdefghijklmnop1234",
    "hf_abcdefghijKLMNOPQRSTabcdefghijKLMN",
    "xoxp-123456789012",
    "xapp-1-A0123456789",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl-_x",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0",
    "npm_0123456789abcdefghij",
]
SETTINGS = [
    ("pwd=letmein x", "pwd=*** x"),
    ('{"openai_key": "let me in", "n": 1}', '{"openai_key": "***", "n": 1}'),
    ("{'session_token': 'it\\'s'}", "{'session_token': '***'}"),
    ('{\\"auth\\": \\"letmein\\"}', '{\\"auth\\": \\"***\\"}'),
    ("{&quot;pwd&quot;:&quot;letmein&quot;}", "{&quot;pwd&quot;:&quot;***&quot;}"),
    ("authorization: Bearer letmein", "authorization: Bearer ***"),
    ("Proxy-Authorization: token letmein", "Proxy-Authorization: token ***"),
    ("X-Api-Key: abc123, x", "X-Api-Key: ***, x"),
    ("--api-key abc123 --port 5", "--api-key *** --port 5"),
    ("--hf-token=letmein", "--hf-token=***"),
    ("Cookie: a=b; session=c", "Cookie: ***"),
    ("trl.hub_token: abc123", "trl.hub_token: ***"),
    ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- x", "*** x"),
]
WORDS = [
    "basic arithmetic and Basic Algebra; basic and/or advanced",
    "an invalid bearer token; the Bearer scheme",
    "sk-learn-compatible-estimators and sk_learn_compatible_transformers",
    "hf_dataset_preprocessing_steps, pk_of_the_whole_table, npm_package_with_scripts",
    "the token: missing; password: required; secrets: `recipe.json` has none",
    "token=None, api_key=${oc.env:KEY}, HF_TOKEN=..., `token=True`, auth=<your key>",
    "eos_token='</s>', pad_token=0, max_tokens=512, prompt_key=question, reward_fn_key: data_source",
    "author: Mary2, authority=3, tokenizer=qwen2, monkey: 5, keyboard=us1, public_key_column=a",
    "cookie: required; authorization: none; --hub-token needs a value",
    "eyJust.some.words, AKIAra, xoxo-kisses",
    "parameters such as `?pwd=`, `&token=` and others",
    "a // comment: x, //a[@href], C://x",
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
    assert "ghi" not in hidden(text, [KEY])


@given(
    key=st.text("abcXYZ0189-_/+=.~:@'&\"é√", min_size=8, max_size=60),
    form=st.sampled_from(
        [
            lambda key: quote(key, safe=""),
            lambda key: re.sub("%..", lambda code: code[0].lower(), quote(key, safe="")),
            html.escape,
            lambda key: json.dumps(html.escape(key))[1:-1],
            lambda key: "".join(f"&#{ord(c)};" for c in key),
            lambda key: f"{key[:3]}\r\n {key[3:7]}\n{key[7:]}",
        ]
    ),
)
def test_each_key_is_hidden_in_each_form_and_nothing_else(key: str, form: Callable[[str], str]) -> None:
    assert masked(f"say {form(key)} now", [key]) == "say *** now"


def test_a_short_secret_is_hidden_as_a_word() -> None:
    assert masked("no 'none' nonetheless, pw:none@h", ["none"]) == "no '***' nonetheless, pw:***@h"
    assert masked("say a, as all", ["a"]) == "say ***, as all"


@pytest.mark.parametrize(("text", "wanted"), ADDRESSES)
def test_passwords_of_addresses_are_hidden(text: str, wanted: str) -> None:
    assert hidden(text) == wanted


@pytest.mark.parametrize("key", KEYS)
def test_what_has_the_form_of_a_key_is_hidden(key: str) -> None:
    assert key.split()[-1] not in hidden(f"server says {key}, no") and "no" in hidden(f"no {key}")


@pytest.mark.parametrize(("text", "wanted"), SETTINGS)
def test_settings_that_are_named_as_secrets_are_hidden(text: str, wanted: str) -> None:
    assert hidden(text) == wanted


@pytest.mark.parametrize("text", WORDS)
def test_ordinary_words_stay(text: str) -> None:
    assert hidden(text) == text


def test_the_documentation_has_nothing_to_hide() -> None:
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        text = path.read_text()
        assert hidden(text) == text, path


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
    for line_break in "\u2028\u2029\x85\v\r":
        assert shown(KEY[:9] + line_break + KEY[9:], [KEY]) == HIDDEN
    assert plain("a\nb") == "a\nb"


def test_options_that_hold_secrets() -> None:
    for name in (
        "hub_token",
        "trl.hub_token",
        "token",
        "task_options.api_key",
        "password",
        "client_secret",
        "openai_key",
        "openaiKey",
        "hf_tokens",
        "authorization",
        "auth",
        "http.basicAuth",
        "pwd",
        "db_pw",
        "session_token",
        "wandb.api_key_2",
        "APIKEY",
    ):
        assert is_secret(name), name
    for name in (
        "eos_token",
        "pad_token",
        "max_tokens",
        "tokenizer",
        "key",
        "id_column",
        "num_tokens",
        *NO_SECRETS,
    ):
        assert not is_secret(name), name
    assert without_secrets({"pwd": 12345, "auth": {"user": "a", "x": ["b"]}, "key": None}) == {
        "pwd": "***",
        "auth": {"user": "***", "x": ["***"]},
        "key": None,
    }
    data = {"a": [{"password": "x", "url": "http://u:p@h"}], "hub_token": "${oc.env:T}", "seed": 1}
    found = without_secrets(data)
    assert found == {
        "a": [{"password": "***", "url": "http://***@h"}],
        "hub_token": "${oc.env:T}",
        "seed": 1,
    }


NO_SECRETS = ("prompt_key", "reward_fn_key", "image_token", "author", "auth_type", "tokenizer_path")


def test_variables_that_hold_secrets() -> None:
    values = {name: f"value-of-{name}" for name in ("MY_KEY", "hf_token", "DB_PWD", "PROXY_AUTH")}
    others = ("PWD", "OLDPWD", "TOKENIZERS_PARALLELISM", "HF_TOKEN_PATH", "SSH_AUTH_SOCK", "XAUTHORITY")
    given = values | {name: f"value-of-{name}" for name in others}
    assert set(secrets_of(given)) == set(values.values())
    assert names_secret("${oc.env:DB_PWD}") and not names_secret("${oc.env:PWD}")


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
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in (("SOME_TOKEN", "secret-12345"), ("MODEL", "a"), ("PW", "pw-12345"), ("LR", "3")):
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_interpolations_are_kept_as_written(tmp_path: Path, variables: pytest.MonkeyPatch) -> None:
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
    variables.setenv("SOME_TOKEN", "secret-67890")
    assert differing(load_recipe("quickstart", OVERRIDES), tmp_path, ["grpo"]) == []
    variables.setenv("MODEL", "b")
    variables.setenv("LR", "4")
    lines = differing(load_recipe("quickstart", OVERRIDES), tmp_path, ["grpo"])
    assert lines == [
        "task_options.lr is 4, there 3",
        "task_options.model is ${oc.env:MODEL}, which had another value there",
    ]


def test_a_secret_of_the_folders_recipe_is_not_quoted(
    tmp_path: Path, variables: pytest.MonkeyPatch
) -> None:
    keep(load_recipe("quickstart", ["task_options.a=secret-12345"]), tmp_path)
    (line,) = differing(load_recipe("quickstart", ["task_options.a=b"]), tmp_path, ["grpo"]) or []
    assert "12345" not in line


def test_the_command_line_quotes_no_secret(
    capsys: pytest.CaptureFixture[str], variables: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variables.chdir(tmp_path)
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
