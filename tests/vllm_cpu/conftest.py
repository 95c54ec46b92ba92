"""Helpers beside the tests are imported by name; a model that vLLM can load, and a server of it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integrations/trl")]
# Before vLLM is imported. Engines in the process of their trainer, a gigabyte for keys and values,
# threads where the system puts them, nothing compiled (that takes longer than the tests), no network.
os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import runs

    return runs.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session", autouse=True)
def server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a vLLM server. It starts while other tests run; TRL's client waits for it."""
    from serve import serving

    with serving(model_folder, tmp_path_factory.mktemp("server") / "log") as address:
        yield address
