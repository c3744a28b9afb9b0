"""`./dev bench builds OTHER`: what another build of the program costs beside this one: two servers, requests of the two in turn.

OTHER is a program, such as one built from another commit or with other flags. Pictures are the model's work, refused requests the server's.
"""
# builds: diffused

import argparse
import contextlib
import http.client
import json
import statistics
import tempfile
import time

import load
import picture

PICTURE = {"prompt": "a red kitten", "size": "256x256", "num_inference_steps": 8, "seed": 1, "response_format": "b64_json"}
REFUSED = {"prompt": "a red kitten", "size": "1x1"}


def ask(connection: http.client.HTTPConnection, body: dict, status: int, times: int = 1) -> float:
    """Seconds for so many requests, one after the other."""
    text = json.dumps(body)
    started = time.perf_counter()
    for _ in range(times):
        connection.request("POST", "/v1/images/generations", text, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        reply.read()
        if reply.status != status:
            raise RuntimeError(f"{reply.status} in place of {status}")
    return time.perf_counter() - started


def compare(name: str, ours, other, rounds: int) -> None:
    """Each round asks both, in alternating order: the median of the rounds' ratios, and the middle half of them."""
    ratios = []
    for number in range(rounds + 1):
        times = {}
        for which in (ours, other) if number % 2 else (other, ours):
            times[which] = which()
        if number:  # the first warms up
            ratios.append(times[ours] / times[other])
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"{name}: {middle:.3f} of the other's time ({low:.3f} to {high:.3f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--requests", type=int, default=300, help="refused in each round")
    arguments = parser.parse_args()
    print(load.machine())
    with contextlib.ExitStack() as ends:
        def connect(program: str) -> http.client.HTTPConnection:
            folder = ends.enter_context(tempfile.TemporaryDirectory())
            command = [program, "serve", "models/demo", "--port", "0", "--data-dir", folder, "--log-level", "error"]
            _, address = ends.enter_context(load.server(command, picture.READY_OURS))
            return http.client.HTTPConnection(address.removeprefix("http://"), timeout=120)

        ours, other = connect(str(picture.PROGRAM)), connect(arguments.other)
        compare("pictures", lambda: ask(ours, PICTURE, 200), lambda: ask(other, PICTURE, 200), arguments.rounds)
        compare("requests", lambda: ask(ours, REFUSED, 400, arguments.requests), lambda: ask(other, REFUSED, 400, arguments.requests), arguments.rounds)


if __name__ == "__main__":
    main()
