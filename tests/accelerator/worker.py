"""A process that plays cases, on FastAPI as it is or with the accelerator, for `fuzz`.

In, on stdin: pickled cases, each after its length. Out, on the stdout it was started with: pickled
`Reply` objects in the same form. The accelerator is installed before anything imports FastAPI, as
the server does; with `--mutant` a fault from `mutants` is planted into its source first.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback

from accelerator.pipes import Reply, read, write


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--accelerate", action="store_true")
    parser.add_argument("--mutant", default="")
    arguments = parser.parse_args()
    # What user code prints must not get between the replies.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if arguments.mutant:
        from accelerator.mutants import plant

        plant(arguments.mutant)
    if arguments.accelerate:
        from pronghorn.fastapi import install

        from accelerator.counting import watch

        watch()
        install()
    from accelerator.play import play

    if arguments.accelerate:
        from accelerator.shortcuts import take_shortcuts

        take_shortcuts()
    while (case := read(sys.stdin.buffer)) is not None:
        try:
            transcripts = play(case)
        except BaseException:
            transcripts = [["cannot be played", *traceback.format_exc().splitlines()]]
        write(replies, Reply(transcripts, tiers() if arguments.accelerate else {}))


def tiers() -> dict[str, int]:
    from accelerator.counting import requests_by_tier

    return requests_by_tier()


if __name__ == "__main__":
    main()
