"""What a machine without a network needs: wheels, the model in parts, the data; and what comes back."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from gdro.common.files import fresh
from gdro.errors import GdroError
from gdro.tasks.gsm8k_rows import read

# What PyTorch's usual images lack; each wheel alone, their needs are there.
WHEELS = (
    "trl==1.16.0",
    "datasets==5.2.0",
    "dill==0.4.1",
    "multiprocess==0.70.19",
    "omegaconf==2.4.0",
    "antlr4-python3-runtime==4.13.2",
    "gguf==0.19.0",
    "math-verify==0.9.0",
    "latex2sympy2_extended==1.11.0",
)
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
FIRST, PART = 43 * 2**20, 52 * 2**20
"""Bytes of the model's file that go with the first call, with all else, and with each later one."""
NAMES = ("train", "test")
INSTALL = "pip install --no-index --no-deps {}/*.whl"


class CarryError(GdroError):
    """What is to be carried, or was, cannot be used."""


def prepare(folder: Path, data: dict[str, Path], python: str = "3.12") -> None:
    """Write what has to be carried: folder `a` goes with the first call, `b` with the second.

    Args:
        folder: New or empty; one that this function wrote before is renamed.
        data: GSM8K's worked solutions, by `train` and `test`.
        python: Version of the other machine.

    Raises:
        GdroError: A file is not GSM8K's, the folder holds other files, or a wheel is not to be had;
            nothing was removed.
    """
    if not re.fullmatch(r"3\.[0-9]{1,2}", python) or int(python[2:]) < 11:
        raise CarryError(
            f"--python is {python!r}; give the other machine's version, e.g. 3.12 (3.11 on)"
        )
    for name, file in data.items():
        if file.suffix != ".jsonl" or file.is_dir():  # `read` takes more, which would not be unpacked
            raise CarryError(f"--{name} is {file}; give the .jsonl file of GSM8K, a problem a line")
    read({name: str(file) for name, file in data.items()})
    contents = {name: file.read_bytes() for name, file in data.items()}
    try:
        fresh(folder)
    except GdroError as error:
        raise CarryError(str(error).replace("--output", "--to")) from None
    from gdro.tasks.smollm2 import _gguf_path, load_model

    first = folder / "a"
    first.mkdir(parents=True)
    _wheels(first / "wheels", python)
    for name, content in contents.items():
        (first / f"{name}.jsonl.gz").write_bytes(gzip.compress(content, mtime=0))
    load_model()[1].save_pretrained(first / "tokenizer")
    source = _gguf_path()
    whole = source.read_bytes()
    cuts = [0, *range(FIRST, len(whole), PART), len(whole)]
    for number, (start, end) in enumerate(itertools.pairwise(cuts)):
        part = folder / "abcdefgh"[number]
        part.mkdir(exist_ok=True)
        (part / f"model.gguf.{number}").write_bytes(whole[start:end])
    (first / "model.json").write_text(json.dumps({"name": source.name, "bytes": len(whole)}))
    for part in sorted(part for part in folder.iterdir() if part.is_dir()):
        size = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
        print(f"{part}: {size / 2**20:.1f} MiB")
    print(f"On the other machine, Linux with Python {python} and PyTorch, before the first run:")
    print(f"    {INSTALL.format(first / 'wheels')}")


def _wheels(folder: Path, python: str) -> None:
    pip = [sys.executable, "-m", "pip"]
    place = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for name in PLATFORMS:
        place += ["--platform", name]
    for wheel in WHEELS:
        get = ["download", "-q", "--no-deps", *place, "-d", str(folder), wheel]
        _pip([*pip, *get], f"the wheel {wheel} for Python {python} on Linux")
    here = Path(__file__).resolve().parents[2]
    _pip([*pip, "wheel", "-q", "--no-deps", "-w", str(folder), str(here)], "the wheel of gdro")


def _pip(call: list[str], what: str) -> None:
    if subprocess.run(call, check=False).returncode:
        raise CarryError(f"pip could not get {what}, for the reason above; see --python and the network")


def unpack(carried: Path, work: Path) -> Path | None:
    """Collect what came with this call and with earlier ones on the same machine.

    Args:
        carried: The folder of `prepare`, with the parts that this call brought.
        work: A folder that outlives the call.

    Returns:
        The model's file once all of it is there, else None.

    Raises:
        CarryError: It cannot be unpacked.
    """
    try:
        return _unpack(carried, work)
    except (OSError, EOFError, ValueError, LookupError) as error:
        raise CarryError(
            f"what {carried} holds cannot be unpacked into {work} ({error}); prepare it again"
        ) from error


def _unpack(carried: Path, work: Path) -> Path | None:
    work.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        for file in carried.glob(f"*/{name}.jsonl.gz"):
            (work / f"{name}.jsonl").write_bytes(gzip.decompress(file.read_bytes()))
    for file in (*carried.glob("*/model.json"), *carried.glob("*/model.gguf.*")):
        shutil.copy(file, work / file.name)
    for tokenizer in carried.glob("*/tokenizer"):
        shutil.copytree(tokenizer, work / "tokenizer", dirs_exist_ok=True)
    if not (work / "model.json").exists():
        return None
    told = json.loads((work / "model.json").read_text())
    whole = work / told["name"]
    if not whole.exists():
        parts = sorted(work.glob("model.gguf.*"), key=lambda part: int(part.suffix[1:]))
        if sum(part.stat().st_size for part in parts) != told["bytes"]:
            return None
        whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    return whole


def pack(work: Path, out: Path) -> None:
    """The runs' logs, without weights, in one file."""
    with tarfile.open(out / "runs.tar.gz", "w:gz") as tar:
        for log in sorted(work.glob("*/worker-*.log")):
            tar.add(log, arcname=str(log.relative_to(work)))
        for path in sorted(work.glob("*/seed-*/*/")):
            for file in (*path.parent.glob("*.json"), *path.glob("*.json*"), *path.glob("gdro/*")):
                tar.add(file, arcname=str(file.relative_to(work)))
