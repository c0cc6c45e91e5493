"""Play many seeds: `--seeds 20000`; play one again: `--first SEED --seeds 1`."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from tests.simulation.scenario import Report, play


class Played(NamedTuple):
    """What came of a seed: a report, or how it failed."""

    seed: int
    report: Report | None
    failure: str


def _begin() -> None:
    """Let nobody look for garbage in what a run needs, nor in what there was before."""
    gc.freeze()
    gc.disable()


def play_seed(seed: int) -> Played:
    """Play one seed; whatever goes wrong is the result."""
    try:
        return Played(seed, play(seed), "")
    except Exception:  # noqa: BLE001  # any failure is what we are looking for
        return Played(seed, None, traceback.format_exc())
    finally:
        gc.collect(0)  # what a run leaves, and no more


def main() -> int:
    """Play the seeds that the command line names; 1 if any of them fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--digests", action="store_true", help="print the digest of each log")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    counts: Counter[str] = Counter()
    failed: list[int] = []
    began = time.monotonic()
    with ProcessPoolExecutor(options.jobs, initializer=_begin) as pool:
        for played in pool.map(play_seed, seeds, chunksize=8):
            if played.report is None:
                failed.append(played.seed)
                print(f"SIM_SEED={played.seed}\n{played.failure}", flush=True)
                continue
            counts.update(played.report.counts)
            counts.update(played.report.fired)
            counts.update(sent=played.report.sent, accepted=played.report.accepted)
            if options.digests:
                print(played.seed, played.report.digest)
    for name, count in counts.most_common():
        print(f"{count:9}  {name}")
    used = sum(os.times()[2:4])  # of the processes that have ended, which played
    seconds = f"{time.monotonic() - began:.0f} s, {used:.0f} s of processors"
    print(f"{len(seeds)} seeds in {seconds}, failed: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
