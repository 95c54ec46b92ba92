"""verl and TRL need environments of their own; each runs its own tests (see the Makefile)."""

from importlib.util import find_spec

collect_ignore_glob = (
    [] if find_spec("verl") else ["src/gdro/integrations/verl*", "tests/verl/*", "benchmarks/verl_*"]
)
