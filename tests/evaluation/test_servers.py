"""Servers as they are: without usage, seed or max_tokens, with prompts that they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from evaluation.scripted import Answer, asked, good, serving
from gdro.cli import main
from gdro.evaluation import EvaluationError, Options, evaluate, read_records, scores
from gdro.evaluation.server import ServerGenerator

OPTIONS = Options(samples=2, max_new_tokens=8, batch_size=4)


def table(style: str = "chat", **changed: str) -> Dataset:
    golds = {f"{i} + 1": str(i + 1) for i in range(4)} | changed
    texts = [f"What is {sum_}?" for sum_ in golds]
    prompts = texts if style == "plain" else [[{"role": "user", "content": text}] for text in texts]
    rows = zip(prompts, golds, golds.values(), strict=True)
    return Dataset.from_list(
        [{"prompt": p, "answer": gold, "prompt_id": key, "source": "s"} for p, key, gold in rows]
    )


def rates(answer: Answer, folder: Path, style: str = "chat", options: Options = OPTIONS) -> Any:
    with serving(answer) as server:
        generator = ServerGenerator(server.url, "m", retries=1)
        records = evaluate(generator, {"s": table(style)}, folder, options)
    assert read_records(folder) == records
    return [sum(r.right) / len(r.right) for r in records], records, server, generator


def changes(**into: Any) -> Answer:
    """The right answer with fields of its first choice or message replaced."""

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        reply = good(body)
        choice = reply["choices"][0]
        inside = choice.get("message", choice)
        for key, value in into.items():
            (choice if key == "finish_reason" else reply if key == "usage" else inside)[key] = value
        return 200, reply

    return answer


@pytest.mark.parametrize("style", ["chat", "plain"])
@pytest.mark.parametrize("usage", [None, {}, {"completion_tokens": None}, {"prompt_tokens": 3}])
def test_without_usage_tokens_are_unknown(usage: Any, style: str, tmp_path: Path) -> None:
    shares, records, *_ = rates(changes(usage=usage), tmp_path, style)
    assert shares == [1.0] * 4 and records[0].tokens == [None, None]
    assert scores(records, [1])["sets"]["all"]["tokens"] is None


@pytest.mark.parametrize(
    "content",
    [[{"type": "text", "text": "\\boxed{1}"}], [{"type": "text", "text": "\\box"}, {"text": "ed{1}"}]],
)
def test_parts_are_read(content: Any, tmp_path: Path) -> None:
    shares, *_ = rates(changes(content=content), tmp_path)
    assert shares == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("content", [None, "", []])
def test_empty_and_cut_answers_are_counted(content: Any, tmp_path: Path) -> None:
    answer = changes(content=content, reasoning_content="so \\boxed{1}", finish_reason="length")
    shares, records, *_ = rates(answer, tmp_path)
    assert shares == [0.0] * 4 and records[0].endings == ["length"] * 2
    counts = {"number": 8, "empty": 8, "cut": 8, "refused": 0}
    assert scores(records, [1])["completions"] == counts


SAID = (
    "This model's maximum context length is 16 tokens. However, you requested 30 tokens",
    "The prompt (total length 4097) is too long to fit into the model",
    "Input length exceeds the maximum length of the model",
    "prompt is too long: 210000 tokens > 200000 maximum",
    "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "the request exceeds the available context size: context window is 4096",
    "Please reduce the length of the messages",
    "The response was filtered due to the prompt triggering the content management policy",
)


def refuses(what: str, said: str, status: int, form: str) -> Answer:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        if what not in asked(body):
            return 200, good(body)
        forms: dict[str, Any] = {
            "error": {"error": {"message": said, "code": status}},
            "object": {"object": "error", "message": said},
            "text": {"error": said},
        }
        return status, forms[form]

    return answer


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize(
    ("status", "form"), [(400, "error"), (413, "text"), (422, "object"), (200, "object")]
)
def test_one_prompt_that_is_refused_does_not_stop_the_rest(
    said: str, status: int, form: str, tmp_path: Path
) -> None:
    shares, records, server, _ = rates(refuses("2 + 1", said, status, form), tmp_path)
    assert shares == [1.0, 1.0, 0.0, 1.0] and len(server.bodies) == 8
    assert all(e.startswith("refused: ") and said[:40] in e for e in records[2].endings)
    assert records[2].tokens == [None] * 2 and records[2].answers == [None] * 2
    counts = {"number": 8, "empty": 0, "cut": 0, "refused": 2}
    assert scores(records, [1])["completions"] == counts


@pytest.mark.parametrize("status", [200, 400])
def test_a_server_that_refuses_every_prompt_is_an_error_and_leaves_nothing(
    status: int, tmp_path: Path
) -> None:
    with pytest.raises(
        EvaluationError, match=r"m: every prompt was refused: .*16 tokens.*max-new-tokens"
    ):
        rates(refuses("What", SAID[0], status, "error"), tmp_path)
    assert read_records(tmp_path) == []
    assert rates(changes(), tmp_path)[0] == [1.0] * 4


@pytest.mark.parametrize(
    ("status", "said"), [(404, "no model m"), (401, "no key"), (400, "temperature must be below 2")]
)
def test_what_is_wrong_with_every_request_still_stops(status: int, said: str, tmp_path: Path) -> None:
    words = rf"did not complete a prompt.*{said}"
    with pytest.raises(EvaluationError, match=words):
        rates(refuses("What", said, status, "error"), tmp_path)


REFUSALS: dict[str, Callable[[str], Any]] = {
    "openai": lambda name: {"error": {"message": f"Unsupported parameter: '{name}' is not supported."}},
    "pydantic": lambda name: {
        "detail": [
            {"loc": ["body", name], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}
        ]
    },
    "unknown": lambda name: {"error": {"message": f"Unrecognized request argument supplied: {name}"}},
    "field": lambda name: {"message": f"{name}: unknown field"},
}


@pytest.mark.parametrize("style", ["chat", "plain"])
@pytest.mark.parametrize("form", REFUSALS)
@pytest.mark.parametrize(
    "names",
    [
        ("seed",),
        ("max_tokens",),
        ("max_tokens", "max_completion_tokens"),
        ("seed", "top_p", "temperature"),
    ],
)
def test_settings_that_a_server_does_not_know_are_left_out(
    names: tuple[str, ...], form: str, style: str, tmp_path: Path
) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        odd = [name for name in names if name in body]
        return (400, REFUSALS[form](odd[0])) if odd else (200, good(body))

    shares, _, server, generator = rates(answer, tmp_path, style)
    assert shares == [1.0] * 4 and generator.left_out == set(names)
    last = server.bodies[-1]
    assert ("max_completion_tokens" in last) == (names == ("max_tokens",))
    assert len(server.bodies) <= 8 + 4 * len(names)  # each batch's requests at most once for each name


def test_a_temperature_that_a_server_does_not_take_is_an_error(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        return 400, {"error": {"message": "Unsupported value: 'temperature' does not support 0.5"}}

    with pytest.raises(EvaluationError, match="Unsupported value: 'temperature'"):
        rates(answer, tmp_path, options=replace(OPTIONS, temperature=0.5))


def test_greedy_decoding_is_of_one_sample(tmp_path: Path) -> None:
    greedy = replace(OPTIONS, temperature=0.0)
    with pytest.raises(EvaluationError, match=r"all 2 samples of a problem would be equal.*--samples 1"):
        greedy.check()
    shares, _, server, _ = rates(changes(), tmp_path, options=replace(greedy, samples=1))
    assert shares == [1.0] * 4 and {body["temperature"] for body in server.bodies} == {0.0}


def test_another_right_answer_is_judged_and_another_problem_is_sampled(tmp_path: Path) -> None:
    with serving(changes()) as server:
        asks = ServerGenerator(server.url, "m")

        def shares(data: Dataset) -> list[float]:
            server.bodies.clear()
            records = evaluate(asks, {"s": data}, tmp_path, OPTIONS)
            assert sorted(r.prompt_id for r in read_records(tmp_path)) == sorted(data["prompt_id"])
            return [sum(record.right) / 2 for record in records]

        wrong = table(**{"1 + 1": "99"})
        assert shares(wrong) == [1.0, 0.0, 1.0, 1.0] and len(server.bodies) == 8
        assert shares(table()) == [1.0] * 4 and not server.bodies
        assert shares(table()) == [1.0] * 4 and not server.bodies
        assert shares(wrong) == [1.0, 0.0, 1.0, 1.0] and not server.bodies
        # Another prompt under the same id, and another problem in the place of one.
        worded = table().to_list()
        worded[3]["prompt"][0]["content"] = "How much is 3 + 1?"
        assert shares(Dataset.from_list(worded)) == [1.0] * 4 and len(server.bodies) == 4
        worded[3] = {**worded[3], "prompt_id": "new"}
        assert shares(Dataset.from_list(worded)) == [1.0] * 4 and len(server.bodies) == 4


def test_records_of_older_versions_are_judged_again(tmp_path: Path) -> None:
    rates(changes(), tmp_path)
    path = tmp_path / "samples.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row |= {"right": [False, False], "level": "None"}
        for name in ("endings", "prompt_hash", "gold_hash"):
            del row[name]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(changes()) as server:
        records = evaluate(ServerGenerator(server.url, "m"), {"s": table()}, tmp_path, OPTIONS)
    assert [(r.right, r.level) for r in records] == [([True, True], "")] * 4 and not server.bodies


def test_the_command_says_what_happened(tmp_path: Path, capsys: Any) -> None:
    data = tmp_path / "set.json"
    data.write_text(
        json.dumps([{"problem": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(4)])
    )

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        if "seed" in body:
            return 400, REFUSALS["openai"]("seed")
        status, reply = refuses("2 + 1", SAID[0], 400, "error")(body)
        if "3 + 1" in asked(body):
            reply["choices"][0] |= {"message": {"content": None}, "finish_reason": "length"}
        return status, reply

    with serving(answer) as server:
        command = ["eval", "--model", "m", "--data", str(data), "--samples", "2", "--server", server.url]
        assert main([*command, "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "settings that the server refuses, left out: seed; without a seed" in said
    assert "2 of 8 samples count as wrong: their prompts were refused: status 400: This model" in said
    assert "of 8 completions, 2 are empty and 2 were cut off at --max-new-tokens" in said
    assert json.loads((tmp_path / "out/eval.json").read_text())["completions"]["refused"] == 2
