"""Which names stand for secrets: of options, variables and parameters of addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping

SHORT = 8
"""Shorter values of variables are words such as "none", which messages need."""

_WORDS = """
alone: password passwd passphrase pwd pw secret secrets credential credentials authorization auth apikey
    apikeys accesskey secretkey privatekey bearer jwt cookie cookies
key: api access secret private auth account master subscription encryption signing session service
    admin client app server license ssh openai anthropic azure google gemini vertex aws hf huggingface
    hub wandb mistral groq together cohere deepseek openrouter fireworks nvidia nim ngc replicate xai
    perplexity comet neptune mlflow clearml swanlab github gitlab gh slack discord telegram stripe
    modal runpod kaggle databricks langsmith langfuse pinecone serper tavily vllm sglang moonshot
    dashscope qwen zhipu
text: bos eos pad unk sep cls mask image img video audio stop start end begin close open special think
    thinking first last next prev previous new word sub vocab boi eoi role system user assistant tool
    per each max min num n one a an the any every this that extra added unknown padding
tokens: access api auth bearer hf hub refresh
parameter: key signature sig pass sas credential sessionid phpsessid
"""
_WORDS_OF = {
    line.split(":")[0]: frozenset(line.split(":")[1].split())
    for line in re.sub(r"\n +", " ", _WORDS).strip().split("\n")
}
_VARIABLE = re.compile(
    r"KEY(?!BOARD|WORD)|TOKEN(?!I[SZ])|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL", re.I
)
_OF_PLACE = re.compile(r"(?:^|_)(?:PATH|FILE|DIR|HOME|SOCK)$|^PWD$", re.I)


def is_secret(option: str) -> bool:
    """Whether an option of this name holds a secret.

    >>> [is_secret(name) for name in ("hub_token", "task.api_key", "openaiKey", "auth", "pwd")]
    [True, True, True, True, True]
    >>> [is_secret(name) for name in ("eos_token", "max_tokens", "prompt_key", "author", "key")]
    [False, False, False, False, False]
    """
    before, last = _last_words(option)
    if last in _WORDS_OF["alone"]:
        return True
    for end in ("token", "key", "keys", "tokens"):
        # Before `key` and `tokens` stands whose they are; a token is a secret unless it is of a text.
        if last.endswith(end):
            what = last.removesuffix(end) or before
            if end == "token":
                return what not in _WORDS_OF["text"]
            return what in _WORDS_OF["tokens" if end == "tokens" else "key"]
    return False


def is_secret_parameter(name: str) -> bool:
    """Whether a parameter of an address holds a secret: also `key`, signatures and sessions.

    >>> [is_secret_parameter(name) for name in ("key", "X-Amz-Signature", "sort_key")]
    [True, True, False]
    """
    before, last = _last_words(name)
    return is_secret(name) or (last in _WORDS_OF["parameter"] and (last != "key" or not before))


def is_secret_variable(name: str) -> bool:
    """Whether a variable of the environment is named as secrets are; names of paths are not."""
    return not _OF_PLACE.search(name) and bool(_VARIABLE.search(name) or is_secret(name))


def names_secret(text: str) -> bool:
    """Whether a text names a variable as secrets are named.

    >>> [names_secret(text) for text in ("${oc.env:HF_TOKEN}", "${oc.env:MODEL}")]
    [True, False]
    """
    return any(map(is_secret_variable, re.findall(r"\w+", text)))


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """Values of variables that are named as secrets are, the longest first."""
    values = {value.strip() for name, value in environment.items() if is_secret_variable(name)}
    return sorted((value for value in values if len(value) >= SHORT), key=len, reverse=True)


def _last_words(name: str) -> tuple[str, str]:
    """The last two words of a name in snake, kebab or camel case, without numbers."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name[-200:])
    before, last = ["", "", *(word.lower() for word in words)][-2:]
    return before, last
