"""What a server may send: each odd reply is one clear line, and nothing of it is kept."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from gdro.cli import main
from gdro.evaluation import EvaluationError, Options, evaluate, read_records
from gdro.evaluation.records import SAMPLES
from gdro.evaluation.server import ServerGenerator

OPTIONS = Options(samples=1, max_new_tokens=8, batch_size=4, style="plain")
KEY = "key-that-nobody/should+see"
LIMIT = 2**20 + 256 * 8  # bytes of a reply to eight tokens
Send = Callable[[socket.socket], None]


def reply(text: Any = "4", tokens: Any = 1, **more: Any) -> dict[str, Any]:
    return {"choices": [{"text": text}], "usage": {"completion_tokens": tokens}, **more}


def http(body: Any, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(raw) if length is None else length}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + raw


def endless(head: bytes, part: bytes, pause: float = 0.0) -> Send:
    """Sends for as long as anybody listens, and a bounded time."""

    def send(to: socket.socket) -> None:
        to.sendall(head)
        stop = threading.Event()
        for _ in range(400):
            to.sendall(part)
            if stop.wait(pause):
                return

    return send


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GOOD = json.dumps(reply()).encode()
BOMB = gzip.compress(b" " * 50_000_000 + GOOD)
NESTED = b"[" * 100_000

# What is sent, and what the one line says.
ODD: dict[str, tuple[bytes | Send, str]] = {
    # Numbers of tokens.
    **{
        f"tokens {text[:24]}": (http(json.dumps(reply(tokens="@")).replace('"@"', text).encode()), said)
        for text, said in {
            '"7"': "completion_tokens is '7'",
            "1.0": "is 1.0",
            "true": "is True",
            "false": "is False",
            "[]": r"is \[\]",
            "{}": r"is \{\}",
            "-1": "is -1",
            "-0.5": "is -0.5",
            "NaN": "NaN is not JSON",
            "Infinity": "Infinity is not JSON",
            "-Infinity": "-Infinity is not JSON",
            "1e999": "is inf",
            "1e2": "is 100.0",
            "25": "is 25 .* max_tokens 8",
            "10000000000": "is 10000000000 for",
            "9" * 400: "is 9999.*…",
            "9" * 5000: "not JSON",
            "0": "is 0 for a text of 1 characters",
            '"\\u001b[31m"': "must be a whole number",
            f'"{KEY}"': r"is '\*\*\*'",
        }.items()
    },
    # Texts.
    "text null": (http(reply(None)), "choices.0..text is None; it must be a text"),
    "text number": (http(reply(7)), "text is 7"),
    "text list": (http(reply(["4"])), r"text is \['4'\]"),
    "text object": (http(reply({"a": 1})), "text is {'a': 1}"),
    "text bool": (http(reply(True)), "text is True"),
    # Shapes.
    "usage list": (http({**reply(), "usage": [1]}), r"usage is \[1\]; it must be an object"),
    "usage text": (http({**reply(), "usage": "5"}), "usage is '5'"),
    "usage number": (http({**reply(), "usage": 5}), "usage is 5"),
    "no choices": (http({"usage": {"completion_tokens": 1}}), "without choices"),
    "choices empty": (http({**reply(), "choices": []}), "without choices"),
    "choices null": (http({**reply(), "choices": None}), "without choices"),
    "choices text": (http({**reply(), "choices": "text"}), "without choices"),
    "choices object": (http({**reply(), "choices": {"0": {"text": "4"}}}), "without choices"),
    "choice null": (http({**reply(), "choices": [None]}), r"without choices\[0\].text"),
    "choice text": (http({**reply(), "choices": ["text"]}), r"without choices\[0\].text"),
    "choice empty": (http({**reply(), "choices": [{}]}), r"without choices\[0\].text"),
    "a chat's": (
        http({**reply(), "choices": [{"message": {"content": "4"}}]}),
        r"without choices\[0\].text",
    ),
    "list": (http([reply()]), "is list, not a JSON object"),
    "string": (http(b'"4"'), "is str, not a JSON object"),
    "number": (http(b"4"), "is int"),
    "null": (http(b"null"), "is NoneType"),
    # No JSON.
    "empty": (http(b""), "not JSON"),
    "html": (http(b"<html><h1>Hello</h1>"), "not JSON .*<html>"),
    "cut": (http(GOOD[:-3]), "not JSON"),
    "twice": (http(GOOD + GOOD), "not JSON"),
    "stream": (http(b"data: " + GOOD + b"\n\ndata: [DONE]\n\n"), "not JSON .*data: "),
    "bytes": (http(b"\xff\xfe\x00\x01"), "not UTF-8 at byte 0"),
    "utf-16": (http(GOOD.decode().encode("utf-16")), "UTF-8"),
    "zeros": (http(b"\0" * 1000), "not JSON"),
    "nested": (http(NESTED), "not JSON"),
    "nested objects": (http(b'{"a":' * 100_000), "not JSON"),
    "quotes": (http(b"'4'"), "not JSON"),
    "escapes": (http(b"\x1b[2J\x1b]0;title\x07 hello \xe2\x80\xae"), "not JSON"),
    # Errors with a success status.
    "error": (http({"error": {"message": "out of memory"}}), "success status: .*out of memory"),
    "error text": (http({"error": "no"}), "success status: no"),
    "error object": (http({"object": "error", "message": "no memory"}), "success status: no memory"),
    "error detail": (http({"detail": "no memory", "choices": []}), "success status: no memory"),
    "error and null": (http({"error": {"msg": "no memory"}, "choices": None}), "status: no memory"),
    # Errors.
    "401": (http({"error": {"message": f"bad key {KEY}"}}, "401 X"), r"status 401: bad key \*\*\*;"),
    "401 header": (
        http({"detail": {"headers": {"authorization": f"Bearer {KEY}"}}}, "401 X"),
        r'"authorization": "\*\*\*"',
    ),
    "403 html": (http(b"<html>" + b"x" * 9000, "403 X"), "status 403: <html>x+…;"),
    "404 escapes": (
        http({"message": "\x1b[31mno\u202e\u2028\n\n model"}, "404 X"),
        "status 404: no model;",
    ),
    "404 empty": (http(b"", "404 X"), "status 404: without a message"),
    "404 nested": (http(NESTED, "404 X"), "status 404"),
    "400 number": (http(b"17", "400 X"), "status 400: 17"),
    "422 list": (http({"detail": [{"msg": "too long"}]}, "422 X"), "status 422: .*too long"),
    "400 long": (http({"error": "y" * 60_000}, "400 X"), "status 400: y+…;"),
    "500 huge": (http(b"z" * 5_000_000, "500 X"), "status 500"),
    "500 bomb": (http(BOMB, "500 X", "Content-Encoding: gzip"), "status 500"),
    "503 wait": (http({"error": "busy"}, "503 X", "Retry-After: 1e99"), "status 503: busy"),
    "429 wait nan": (http({"error": "busy"}, "429 X", "Retry-After: nan"), "status 429: busy"),
    "429 wait text": (http({"error": "busy"}, "429 X", "Retry-After: -5, soon"), "status 429: busy"),
    "999": (http(GOOD, "999 X"), "status 999|illegal status|no answer|Illegal"),
    # Elsewhere.
    "301": (
        http(b"", "301 X", f"Location: http://u:{KEY}@evil.test/v1"),
        r"redirects to http://\*\*\*@evil.test/v1",
    ),
    "307": (http(b"", "307 X", "Location: file:///etc/passwd"), "which is not followed; give that URL"),
    "308": (http(b"", "308 X"), "redirects to nowhere"),
    "204": (http(b"", "204 No Content"), "not JSON"),
    # Lengths.
    "long": (http(reply("x" * (LIMIT + 1))), f"longer than {LIMIT:,} bytes"),
    "said too long": (http(GOOD, length=10**15), "within|peer closed|incomplete|no answer"),
    "said too short": (http(GOOD, length=5), "not JSON"),
    "length negative": (http(GOOD, length=-1), "no complete answer|[Ll]ength|no answer"),
    "endless": (endless(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"), "longer than"),
    "endless without length": (endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536), "longer than"),
    # Packed.
    "gzip bomb": (http(BOMB, "200 OK", "Content-Encoding: gzip"), "longer than"),
    "deflate bomb": (
        http(zlib.compress(b" " * 50_000_000), "200 OK", "Content-Encoding: deflate"),
        "longer than",
    ),
    "gzip twice": (
        http(gzip.compress(gzip.compress(GOOD)), "200 OK", "Content-Encoding: gzip, gzip"),
        "encoded as",
    ),
    "brotli": (
        http(b"\x0b", "200 OK", "Content-Encoding: br"),
        "encoded as 'br', which was not requested",
    ),
    "zstd": (http(b"\x28\xb5", "200 OK", "Content-Encoding: zstd"), "encoded as 'zstd'"),
    "no gzip": (http(GOOD, "200 OK", "Content-Encoding: gzip"), "it is not valid gzip"),
    "gzip cut": (http(gzip.compress(GOOD)[:-9], "200 OK", "Content-Encoding: gzip"), "ends too soon"),
    "packing odd": (
        http(GOOD, "200 OK", "Content-Encoding: x\x1b[31m" + "y" * 90),
        "encoded as|no answer|llegal",
    ),
    # Slow.
    "nothing": (lambda to: threading.Event().wait(2), "no complete answer within 0.4 s"),
    "slow head": (endless(b"HTTP/1.1 200 OK\r\nX: ", b"a", 0.02), "no complete answer within 0.4 s"),
    "slow body": (
        endless(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", b" ", 0.02),
        "no complete answer",
    ),
    "slow chunks": (endless(CHUNKED, b"1\r\n \r\n", 0.02), "no complete answer within 0.4 s"),
    "slow error": (
        endless(b"HTTP/1.1 401 X\r\nContent-Length: 9000\r\n\r\n", b" ", 0.02),
        "no complete answer",
    ),
    "hints": (
        endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.02),
        "no complete answer within 0.4 s",
    ),
    # No HTTP.
    "closed": (b"", "disconnected|closed|no answer"),
    "half a head": (b"HTTP/1.1 200 OK\r\nConte", "disconnected|closed"),
    "no http": (b"SSH-2.0-OpenSSH_9.0\r\n", "llegal|malformed|disconnected|protocol|data"),
    "head endless": (
        endless(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 65536 + b"\r\n"),
        "too|llegal|limit|bytes|size",
    ),
    "chunk of -1": (CHUNKED + b"-1\r\n\r\n", "llegal|malformed|chunk"),
    "chunk endless": (endless(CHUNKED, b"f" * 65536), "llegal|malformed|chunk|too|limit|size"),
}


class Odd:
    """Answers each connection with the same, once it has read a request."""

    def __init__(self) -> None:
        self.answer: bytes | Send = b""
        self.asked: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                to, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._speak, args=(to,), daemon=True).start()

    def _speak(self, to: socket.socket) -> None:
        with to:
            try:
                head, _, body = self._read(to).partition(b"\r\n\r\n")
                self.asked.append(head + body)
                if isinstance(self.answer, bytes):
                    to.sendall(self.answer)
                else:
                    self.answer(to)
            except OSError:
                return

    def _read(self, to: socket.socket) -> bytes:
        found = b""
        while not found.endswith(b"}"):
            part = to.recv(65536)
            if not part:
                break
            found += part
        return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def odd() -> Iterator[Odd]:
    made = Odd()
    yield made
    made.close()


@pytest.fixture
def table() -> Dataset:
    row = {"prompt": "2 + 2", "answer": "4", "prompt_id": "p", "source": "s"}
    return Dataset.from_list([row])


def test_there_are_many() -> None:
    assert len(ODD) >= 82


@pytest.mark.parametrize("name", ODD)
def test_an_odd_reply_is_one_line_and_leaves_nothing(
    name: str, odd: Odd, table: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    odd.answer, said = ODD[name]
    slow = "no complete answer" in said
    asks = ServerGenerator(odd.url, "m", retries=0, timeout_s=0.4 if slow else 20.0)
    with pytest.raises(EvaluationError, match=said) as told:
        evaluate(asks, {"s": table}, tmp_path, OPTIONS)
    line = str(told.value)
    assert line.startswith(f"{odd.url} did not complete a prompt with model 'm': ")
    assert line.isprintable() and len(line) < 520 and KEY not in line
    assert read_records(tmp_path) == [] and told.value.__cause__ is None
    # What is sound goes on from there.
    odd.answer = http(reply())
    asks = ServerGenerator(odd.url, "m", retries=0, timeout_s=20.0)
    (record,) = evaluate(asks, {"s": table}, tmp_path, OPTIONS)
    assert (record.right, record.tokens, record.texts) == ([True], [1], ["4"])


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (reply("", 0), ("", 0)),
        (reply("", 3), ("", 3)),
        (reply("x", 24), ("x", 24)),
        (reply("\ud800", 1), ("\ud800", 1)),
        (reply("a\0b"), ("a\0b", 1)),
        (reply(more=1), ("4", 1)),
        ({**reply(), "choices": [{"text": "4"}, {"text": "5"}]}, ("4", 1)),
        (reply(f"my key is {KEY}"), ("my key is ***", 1)),
        ({"choices": [{"text": "4"}]}, ("4", None)),
        ({**reply(), "usage": None}, ("4", None)),
        ({**reply(), "usage": {}}, ("4", None)),
        (reply(tokens=None), ("4", None)),
    ],
)
def test_what_is_only_rare_is_kept(
    body: Any, wanted: Any, odd: Odd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    small = gzip.compress(json.dumps(body).encode())
    for sent in (http(body), http(small, "200 OK", "Content-Encoding: gzip")):
        odd.answer = sent
        (answer,) = ServerGenerator(odd.url, "m", retries=0).generate(["2"], OPTIONS, 0)
        assert answer == (*wanted, "")
    assert b"Accept-Encoding: identity".lower() in odd.asked[-1].lower()


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({"content": "4"}, "4"),
        ({"content": None}, ""),
        ({"content": None, "reasoning_content": "so 4"}, ""),
        ({"content": "", "reasoning_content": "so 4"}, ""),
        ({"content": []}, ""),
        ({"content": [{"type": "text", "text": "4"}]}, "4"),
        ({"content": [{"type": "text", "text": "4"}, {"type": "image_url"}, {"text": "2"}]}, "42"),
        ({"content": 4}, None),
        ({}, None),
        (None, None),
        ("4", None),
    ],
)
def test_a_chat_may_say_nothing(message: Any, wanted: str | None, odd: Odd) -> None:
    odd.answer = http({"choices": [{"message": message}], "usage": {"completion_tokens": 1}})
    asks, talk = ServerGenerator(odd.url, "m", retries=0), [[{"role": "user", "content": "2"}]]
    if wanted is None:
        with pytest.raises(EvaluationError, match="content"):
            asks.generate(talk, OPTIONS, 0)
    else:
        assert asks.generate(talk, OPTIONS, 0) == [(wanted, 1, "")]


def test_what_may_pass_is_asked_again_and_counted(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdro.evaluation.server._PAUSE_S", 0.01)
    turns = [http({}, "503 X", "Retry-After: 0"), http(reply(tokens="1")), b"", http(reply())]
    odd.answer = lambda to: to.sendall(turns.pop(0))
    asks = ServerGenerator(odd.url, "m", retries=3)
    assert asks.generate(["2"], OPTIONS, 0) == [("4", 1, "")] and not turns
    assert asks.again == {"status 503": 1, "odd reply": 1, "no answer": 1}
    before = len(odd.asked)
    odd.answer = http({"error": "no"}, "404 X")
    with pytest.raises(EvaluationError, match="status 404"):
        asks.generate(["2"], OPTIONS, 0)
    assert len(odd.asked) == before + 1  # what is refused for good is not asked again


def test_pauses_and_requests_share_one_deadline(odd: Odd) -> None:
    odd.answer = http({"error": "busy"}, "429 X", "Retry-After: 30")
    with pytest.raises(EvaluationError, match=r"no complete answer within 0\.5 s"):
        ServerGenerator(odd.url, "m", retries=99, timeout_s=0.5).generate(["2"], OPTIONS, 0)


def test_endless_bodies_are_left_early(odd: Odd) -> None:
    sent = []

    def send(to: socket.socket) -> None:
        to.sendall(CHUNKED)
        for _ in range(4000):
            to.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
            sent.append(65536)

    odd.answer = send
    with pytest.raises(EvaluationError, match="longer than"):
        ServerGenerator(odd.url, "m", retries=0).generate(["2"], OPTIONS, 0)
    assert sum(sent) < 50_000_000  # the limit, and what sockets hold


@pytest.mark.parametrize(
    "key", ["a\nb", "a b", "a\0b", "clé", "a\r\nX-Evil: 1", "x" * 5000, "\ud800key"]
)
def test_a_key_that_is_none_is_said_without_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": key})
    with pytest.raises(EvaluationError, match="OPENAI_API_KEY is not a key: ") as told:
        ServerGenerator("http://localhost:1/v1", "m")
    assert key not in str(told.value) and str(told.value).isprintable()


def test_a_key_with_space_around_it_and_an_address_with_a_password(
    odd: Odd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    odd.answer = http(reply())
    ServerGenerator(odd.url, "m").generate(["2"], OPTIONS, 0)
    assert f"authorization: bearer {KEY}\r\n".lower().encode() in odd.asked[-1].lower()
    guarded = odd.url.replace("://", "://me:pass-word@")
    ServerGenerator(guarded, "m").generate(["2"], OPTIONS, 0)
    assert b"basic bwu6cgfzcy13b3jk" in odd.asked[-1].lower()
    odd.answer = http({"error": "you are me:pass-word, Basic bWU6cGFzcy13b3Jk"}, "403 X")
    with pytest.raises(EvaluationError) as told:
        ServerGenerator(guarded, "m").generate(["2"], OPTIONS, 0)
    assert "pass-word" not in str(told.value) and "bWU6cGFzcy13b3Jk" not in str(told.value)
    assert "http://***@127.0.0.1" in str(told.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000/v1",
        "ftp://h/v1",
        "http://",
        "http:///v1",
        "http://[::1/v1",
        "http://h:99999/v1",
        "http://h:x/v1",
        "http://a b/v1",
        "http://h\n/v1",
        "http://h\0/v1",
        "http://ex\u2028ample/v1",
        "http://\u202eevil/v1",
        "http://h:0/v1",
        "http://-/v1",
        "http://u:p@/v1",
        "http://%zz/v1",
        "http://h^/v1",
    ],
)
def test_an_address_that_is_none_is_said(url: str) -> None:
    with pytest.raises(EvaluationError, match="it must be a URL") as told:
        ServerGenerator(url, "m")
    assert str(told.value).isprintable()


def test_it_works_inside_of_a_notebooks_loop(odd: Odd) -> None:
    import asyncio

    odd.answer = http(reply())

    async def cell() -> Any:
        return ServerGenerator(odd.url, "m").generate(["2", "3"], replace(OPTIONS, batch_size=1), 0)

    assert asyncio.run(cell()) == [("4", 1, "")] * 2


SOUND = {
    "set": "s",
    "prompt_id": "p",
    "source": "s",
    "level": "",
    "right": [True],
    "answers": ["4"],
    "tokens": [1],
    "texts": ["4"],
}


@pytest.mark.parametrize(
    "spoilt",
    [
        {"tokens": ["1"]},
        {"tokens": [1.5]},
        {"tokens": [float("nan")]},
        {"tokens": [-1]},
        {"tokens": [True]},
        {"tokens": [10**12]},
        {"tokens": None},
        {"tokens": []},
        {"tokens": [1, 2]},
        {"right": [1]},
        {"right": [None]},
        {"right": "no"},
        {"right": [], "answers": [], "tokens": [], "texts": []},
        {"texts": [None]},
        {"texts": "4"},
        {"answers": [4]},
        {"set": 1},
        {"prompt_id": None},
        {"level": []},
        {"source": {}},
        {"more": 1},
        {"endings": ["", ""]},
        {"endings": [None]},
        {"endings": "length"},
        {"gold_hash": None},
    ],
)
def test_a_spoilt_store_is_one_line(spoilt: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    lines = [json.dumps(SOUND), json.dumps({**SOUND, "prompt_id": "q", **spoilt})]
    (tmp_path / SAMPLES).write_text("\n".join(lines) + "\n")
    with pytest.raises(EvaluationError, match=r"samples.jsonl, line 2: not a record .* delete the line"):
        read_records(tmp_path)
    assert main(["eval", "compare", str(tmp_path), str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said


def test_what_another_generator_gives_is_checked_too(table: Dataset, tmp_path: Path) -> None:
    class Wrong:
        name = "wrong"

        def generate(self, prompts: Any, options: Options, seed: int) -> Any:
            return [("4", float("nan"))] * len(prompts)

    with pytest.raises(EvaluationError, match="wrong gave an odd completion: tokens holds nan"):
        evaluate(Wrong(), {"s": table}, tmp_path, OPTIONS)
    assert read_records(tmp_path) == []
