"""Speaks to `rollout.vllm_link` as `rollout.vllm_process` does, and computes nothing: what it is asked decides.

A question's `ids` come back doubled; `{"op": "die"}` ends it with words, `{"op": "half"}` in the middle of an answer;
to `{"op": "babble"}` it says what is no answer; `{"op": "wait"}` is never answered. No test.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    """Serve the socket on standard input."""
    link = socket.socket(fileno=os.dup(0))
    replies = link.makefile("w", encoding="utf-8")
    for line in link.makefile("r", encoding="utf-8"):
        message = json.loads(line)
        if message.get("op") == "die" or message.get("start") == "fail":
            print("loading the model\nValueError: no room for it", file=sys.stderr, flush=True)
            os._exit(3)
        if message.get("op") in ("half", "babble"):
            replies.write('{"id": ' if message["op"] == "half" else "[1, 2]\n")
            replies.flush()
            if message["op"] == "half":
                os.kill(os.getpid(), signal.SIGKILL)
        elif message.get("op") not in ("wait", "abort"):
            reply = {"ids": [2 * id for id in message.get("ids", ())], "folder": os.environ["TMPDIR"]}
            replies.write(json.dumps({"id": message["id"], **reply}) + "\n")
            replies.flush()


if __name__ == "__main__":
    main()
