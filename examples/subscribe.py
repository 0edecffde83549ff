"""Prints what streamcab hears, one line per prediction, until Ctrl-C.

    pip install pyzmq
    python subscribe.py                                    # every stream of the daemon on this machine
    python subscribe.py tcp://127.0.0.1:5557 mic           # one stream

Needs pyzmq and nothing of streamcab, so it shows all that there is to do, in any language: subscribe, take
two frames, read JSON, skip what you have. docs/reference/feed.md says what else is in a message.
"""

import argparse
import json
import sys
import time

import zmq


def line(message: dict) -> str:
    """One prediction in words."""
    clock = time.strftime("%H:%M:%S", time.localtime(message["time"]))
    answer = "nobody speaks" if message["top"] is None else f"{message['top']} {message['confidence']:.0%}"
    return (
        f"{clock}  {message['stream']:<16}  {answer:<16}  {message['state']}, "
        f"{message['voiced_s']:.1f} s of speech, {message['lag_ms']:.0f} ms behind"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what streamcab hears, one line per prediction.")
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5557")
    parser.add_argument("stream", nargs="?", help="name of one stream; without it, all of them")
    options = parser.parse_args()

    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    # Set no HEARTBEAT_IVL here: libzmq 4.3.5 can abort a subscriber that stopped reading for a while.
    # A topic is v1/<stream>/<kind>. A subscription is a prefix: `v1/mic` alone would match `mic2` as well.
    socket.subscribe(f"v1/{options.stream}/prediction" if options.stream else "v1/")
    socket.connect(options.endpoint)  # returns at once and keeps trying, so the daemon may start later

    seen = {}  # run and seq of the last message, by topic
    try:
        while True:
            if not socket.poll(3_000):  # a daemon that lives says something each second
                print(f"nothing from {options.endpoint} for 3 s: is streamcab running?", file=sys.stderr)
                continue
            topic, body = socket.recv_multipart()
            if not topic.endswith(b"/prediction"):
                continue
            message = json.loads(body)
            run, seq = seen.get(topic, (None, 0))
            if message["run"] == run and message["seq"] <= seq:
                continue  # sent again, for somebody who came later than you
            seen[topic] = message["run"], message["seq"]
            print(line(message), flush=True)
    except KeyboardInterrupt:
        pass
    finally:
        context.destroy(linger=0)


if __name__ == "__main__":
    main()
