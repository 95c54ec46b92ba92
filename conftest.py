"""verl and vLLM need environments of their own; each runs its own tests (see the Makefile)."""

from importlib.util import find_spec

ON_VERL = [
    "src/gdro/integrations/verl*",
    *(f"src/gdro/dry_run/verl/{name}.py" for name in ("cpu", "platform", "replica", "sampling")),
    "tests/verl/*",
    "benchmarks/verl_*",
]
ON_VLLM = ["tests/vllm_cpu/*"]
collect_ignore_glob = [
    *([] if find_spec("verl") else ON_VERL),
    *([] if find_spec("vllm") else ON_VLLM),
]
