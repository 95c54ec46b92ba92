"""Helpers beside the tests are imported by name."""

import os
import sys
from pathlib import Path

# Before verl is imported: it asks for its platform at once.
os.environ["VERL_PLATFORM"] = "cpu"
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # Ray's own 15 starves beside other tests
os.environ["VERL_USE_EXTERNAL_MODULES"] = "gdro.dry_run.verl.cpu,gdro.integrations.verl"

# Plugins of the runs: what they register is registered once.
collect_ignore = ["probe.py", "probes.py"]

sys.path.insert(0, str(Path(__file__).parent))
