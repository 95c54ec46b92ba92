"""Generation by transformers: any causal language model, on its own device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gdro.evaluation.records import EvaluationError
from gdro.evaluation.run import Options


class TransformersGenerator:
    """Completes prompts with a transformers model.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer; prompts are padded on the left.
        name: Name of the model, recorded with the samples.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.name = name
        self._model, self._tokenizer = model.eval(), tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token

    @classmethod
    def load(cls, path: str, dtype: str = "auto", style: str = "plain") -> TransformersGenerator:
        """Load a model onto an accelerator, if there is one.

        Args:
            path: Folder of the model, or its name on the hub.
            dtype: dtype of the weights; `auto`: as in the checkpoint.
            style: Style of the prompts; `chat` needs a chat template.

        Returns:
            The generator.

        Raises:
            EvaluationError: The model or its tokenizer cannot be loaded, or has no chat template.
        """
        model = load_model(path, dtype)
        tokenizer = _loaded("AutoTokenizer", path)
        if style == "chat" and tokenizer.chat_template is None:
            raise EvaluationError(f"the tokenizer of {path!r} has no chat template; pass --style plain")
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
        return cls(model.to(device), tokenizer, path)

    def generate(self, prompts: Sequence[Any], options: Options, seed: int) -> list[tuple[str, int]]:
        """Complete each of P texts or conversations once: text and number of tokens, shape (P,).

        The chat template is applied to conversations; torch's global generator is left unchanged.
        """
        inputs = encoded(self._tokenizer, prompts).to(self._model.device)
        tokens = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
        how = {"do_sample": True, "temperature": options.temperature, "top_p": options.top_p, "top_k": 0}
        if options.temperature == 0:
            how = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        ends = {"max_new_tokens": options.max_new_tokens, "pad_token_id": self._tokenizer.pad_token_id}
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            output = self._model.generate(**tokens, **how, **ends)[:, tokens["input_ids"].shape[1] :]
        decoded = self._tokenizer.batch_decode(output, skip_special_tokens=True)
        return list(zip(decoded, lengths(self._model, output), strict=True))


def lengths(model: Any, tail: Any) -> list[int]:
    """Number of tokens of each right-padded completion in `tail`, its end token included, shape (R,)."""
    ends = model.generation_config.eos_token_id
    ends = torch.tensor(ends if isinstance(ends, list) else [ends if ends is not None else -1])
    is_end = torch.isin(tail.cpu(), ends)
    first = torch.where(is_end.any(1), is_end.int().argmax(1) + 1, tail.shape[1])
    return first.tolist()


def load_model(path: str, dtype: str | None = None) -> Any:
    """Load a causal language model from a folder or by its name on the hub."""
    return _loaded("AutoModelForCausalLM", path, **({} if dtype is None else {"dtype": dtype}))


def _loaded(kind: str, path: str, **options: Any) -> Any:
    import transformers

    try:
        return getattr(transformers, kind).from_pretrained(path, **options)
    except (OSError, ValueError) as problem:  # no such name, no network, no weights, another kind
        first = str(problem).strip().partition("\n")[0]
        raise EvaluationError(
            f"cannot load the model {path!r} ({first}); pass a folder that save_pretrained wrote, with "
            "its tokenizer, or a name on the hub"
        ) from problem


def encoded(tokenizer: Any, prompts: Sequence[Any]) -> Any:
    """Padded `input_ids` and `attention_mask` of texts, or of conversations by the chat template."""
    talks = not isinstance(prompts[0], str)
    texts = [
        tokenizer.apply_chat_template(p, tokenize=False, add_generation_prompt=True) if talks else p
        for p in prompts
    ]
    # A chat template writes the special tokens itself.
    return tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=not talks)
