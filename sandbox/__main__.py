"""`python -m sandbox`: serve the local WillSuite until interrupted."""

import argparse
import os
import signal
import sys

from sandbox.faults import Fault, RandomFaults
from sandbox.server import CLIENT_ID, CLIENT_SECRET, Options, Sandbox, running


def main() -> None:
    """Read the options, serve, and print how to connect."""
    given = vars(_parser().parse_args())
    port, faulty = given.pop("port"), given.pop("faulty_writes")
    options = Options(**given)
    faults: list[Fault | RandomFaults] = [RandomFaults(faulty, options.seed)] if faulty else []
    try:
        with running(Sandbox(options, faults), port=port) as sandbox:
            sys.stdout.write(
                f"WILLSUITE_BASE_URL={sandbox.url}\n"
                f"WILLSUITE_CLIENT_ID={CLIENT_ID}\n"
                f"WILLSUITE_CLIENT_SECRET={CLIENT_SECRET}\n"
            )
            sys.stdout.flush()
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
    except (OSError, OverflowError) as error:
        reason = (
            os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        )
        sys.exit(f"Cannot serve on port {port}: {reason}. Choose another with --port.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--cases", type=int, default=1600, help="how many invented cases")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same people")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="before every answer")
    parser.add_argument("--requests-per-minute", type=int, help="answer 429 above this")
    parser.add_argument("--token-seconds", type=float, default=31_536_000)
    parser.add_argument(
        "--job-seconds", type=float, default=0.0, help="from a bulk update to its completion"
    )
    parser.add_argument(
        "--unique-refs",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="refuse a new case whose reference exists",
    )
    parser.add_argument(
        "--faulty-writes",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="of the new cases that meet a fault of any kind, 0 to 1",
    )
    return parser


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, not {text}")
    return share


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
