"""Prints what is said on the board, now and since the last time, whatever happens to the connection.

pip install websockets; python3 board.py [ID of the last message that was seen]
"""

import json
import sys
import time

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

GATEWAY = "ws://localhost:3000/api/v1/redis/ws"

last = sys.argv[1] if len(sys.argv) > 1 else "0"
while True:
    wait = 1.0
    try:
        with connect(GATEWAY, subprotocols=["dbx.v1"]) as socket:
            args = {"channels": ["board"], "replay": {"key": "board:kept", "from": last}}
            socket.send(json.dumps({"id": 1, "op": "subscribe", "args": args}))
            for text in socket:
                frame = json.loads(text)
                if "error" in frame:
                    print(frame["error"]["detail"], file=sys.stderr)
                    break
                if "message" in frame:
                    last = frame["id"]
                    print(last, json.loads(frame["message"])["text"], flush=True)
    except ConnectionClosed as closed:
        # A gateway that stops says when to come back, so that not all do at once.
        if closed.rcvd and closed.rcvd.code == 1012:
            wait = json.loads(closed.rcvd.reason)["reconnectAfter"] / 1000
    except (OSError, WebSocketException) as error:
        print(error, file=sys.stderr)
    time.sleep(wait)
