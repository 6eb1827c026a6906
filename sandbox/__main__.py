"""`python -m sandbox`: serve the local WillSuite until interrupted."""

import argparse
import os
import signal
import sys

from sandbox.server import CLIENT_ID, CLIENT_SECRET, Options, Sandbox, running


def main() -> None:
    """Read the options, serve, and print how to connect."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--cases", type=int, default=1600, help="how many invented cases")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same people")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="before every answer")
    parser.add_argument("--requests-per-minute", type=int, help="answer 429 above this")
    parser.add_argument("--token-seconds", type=float, default=31_536_000)
    given = parser.parse_args()
    port = given.port
    options = Options(**{name: value for name, value in vars(given).items() if name != "port"})
    try:
        with running(Sandbox(options), port=port) as sandbox:
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


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
