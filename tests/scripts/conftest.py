import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
# Scripts run when they are imported, and doctests import every module.
collect_ignore = ["gsm8k_xml.py", "open_r1.py", "trl_example.py", "countdown.py", "several_tasks.py"]
