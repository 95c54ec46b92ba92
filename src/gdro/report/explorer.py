"""The prompt explorer's data: every prompt's visits, packed small."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gdro.report.load import LoggedRun
from gdro.report.visits import Visits

Arrays = dict[str, npt.NDArray[np.integer]]
# Above these the page would outgrow its 5 MB; prompts with the most rollouts stay.
MOST_PROMPTS, MOST_VISITS = 20_000, 900_000


def explorer(runs: Sequence[LoggedRun]) -> tuple[dict[str, object], Arrays] | None:
    """Data of the explorer; None if no run has groups.

    Returns:
        JSON data (names of runs, keys and texts of prompts, last completions by prompt, how many
        were left out), and arrays by run r: `r/prompt` and `r/visits` of each of its prompts, then,
        prompt by prompt and oldest first, `r/step` (the distance to the visit before), `r/bin`, `r/n`,
        `r/successes`.
    """
    known = [(run, run.visits) for run in runs if run.visits is not None and run.visits.keys]
    if not known:
        return None
    share = MOST_VISITS // len(known)
    chosen = [_chosen(visits, share) for _, visits in known]
    index: dict[str, int] = {}
    for (_, visits), shown_K in zip(known, chosen, strict=True):
        for place in np.flatnonzero(shown_K).tolist():
            index.setdefault(visits.keys[place], len(index))
    arrays: Arrays = {}
    for number, ((_, visits), shown_K) in enumerate(zip(known, chosen, strict=True)):
        arrays |= {f"{number}/{name}": a for name, a in _columns(visits, shown_K, index).items()}
    texts = {key: text for run, _ in known for key, text in run.texts.items() if key in index}
    data: dict[str, object] = {
        "runs": [run.name for run, _ in known],
        "bins": max(run.num_bins for run, _ in known),
        "keys": list(index),
        "texts": [texts.get(key, "") for key in index] if texts else [],
        "completions": [
            {index[key]: text for key, text in run.completions.items() if key in index}
            for run, _ in known
        ],
        "left_out": [int((~shown_K).sum()) for shown_K in chosen],
    }
    return data, arrays


def _chosen(visits: Visits, most_visits: int) -> npt.NDArray[np.bool_]:
    """Prompts with the most rollouts, as many as the page has room for, shape (K,)."""
    order = np.argsort(-visits.rollouts_K, kind="stable")
    room = np.cumsum(visits.visits_K[order]) <= most_visits
    shown_K = np.zeros(len(order), bool)
    shown_K[order[room][:MOST_PROMPTS]] = True
    return shown_K


def _columns(visits: Visits, shown_K: npt.NDArray[np.bool_], index: dict[str, int]) -> Arrays:
    order_V = visits.by_prompt_V
    order_V = order_V[shown_K[visits.prompt_V[order_V]]]
    prompt_V, step_V = visits.prompt_V[order_V], visits.step_V[order_V]
    first_V = np.r_[True, prompt_V[1:] != prompt_V[:-1]]
    gap_V = np.where(first_V, step_V, step_V - np.r_[0, step_V[:-1]])
    places = np.flatnonzero(shown_K)
    columns = {
        "prompt": np.array([index[visits.keys[place]] for place in places.tolist()]),
        "visits": visits.visits_K[places],
        "step": gap_V,
        "n": visits.n_V[order_V],
        "successes": visits.successes_V[order_V],
        "bin": visits.bin_V[order_V] + 1,
    }
    return {name: smallest(values) for name, values in columns.items()}


def smallest(values: npt.NDArray[np.int64]) -> npt.NDArray[np.integer]:
    """Numbers from zero up in the smallest unsigned type that holds them."""
    top = int(values.max()) if len(values) else 0
    return values.astype(np.uint8 if top < 2**8 else np.uint16 if top < 2**16 else np.uint32)
