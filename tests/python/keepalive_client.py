"""A client of the registry in plain grpcio, driven line by line through stdin.

Usage: keepalive_client.py STUBS ADDRESS [CA [CERT KEY]]. STUBS is a folder with the generated
stubs; with CA, the channel is TLS, with CERT and KEY it shows a certificate.
Each command is answered by one line of JSON; answers of the stream come as
{"answer": …}, its end as {"ended": STATUS}.

    register SERVICE URL TTL     registers, prints {"id": …}
    open [SECONDS]               opens a KeepAlive stream, with a deadline where given
    beat [ID…]                   one message; without ids it renews what is attached
    detach ID…                   releases these ids from the stream
    half-close                   ends the request side
    cancel                       cancels the call
    ride ID…                     keeps these as an application would: beats when it is asked to,
                                 and opens another stream when one ends; prints
                                 {"riding": true} whenever the ids are attached
    deregister ID                ends a registration by a call of its own
"""

import json
import pathlib
import queue
import sys
import threading
import time

sys.path.insert(0, sys.argv[1])

import grpc  # noqa: E402
from google.protobuf.json_format import MessageToDict  # noqa: E402
from leasehold.v1 import registry_pb2 as pb  # noqa: E402
from leasehold.v1 import registry_pb2_grpc  # noqa: E402

_printing = threading.Lock()


def say(**fields):
    with _printing:
        print(json.dumps(fields), flush=True)


class Stream:
    """One KeepAlive call; its requests are queued, its answers printed by a thread."""

    def __init__(self, registry, timeout):
        self._beats = queue.Queue()
        self.call = registry.KeepAlive(iter(self._beats.get, None), timeout=timeout)
        threading.Thread(target=self._print_answers, daemon=True).start()

    def send(self, beat):
        self._beats.put(beat)

    def half_close(self):
        self._beats.put(None)

    def _print_answers(self):
        try:
            for answer in self.call:
                say(answer=MessageToDict(answer, preserving_proto_field_name=True))
            say(ended="OK")
        except grpc.RpcError as error:
            say(ended=error.code().name)


def ride(registry, ids):
    while True:
        beats = queue.Queue()
        beats.put(pb.KeepAliveRequest(ids=ids))
        attached, pause = False, 0.1
        try:
            for answer in registry.KeepAlive(iter(beats.get, None), wait_for_ready=True):
                if answer.lost:
                    say(answer=MessageToDict(answer, preserving_proto_field_name=True))
                if answer.HasField("retry_after"):
                    pause = answer.retry_after.ToTimedelta().total_seconds()
                    continue
                if not attached:
                    attached = True
                    say(riding=True)
                next_beat = answer.next_beat_in.ToTimedelta().total_seconds()
                threading.Timer(next_beat, beats.put, [pb.KeepAliveRequest()]).start()
        except grpc.RpcError:
            pass
        # Ends the request side's thread.
        beats.put(None)
        time.sleep(pause)


def channel(address, *files):
    if not files:
        return grpc.insecure_channel(address)
    ca, cert, key = [pathlib.Path(file).read_bytes() for file in files] + [None] * (3 - len(files))
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert))


def main():
    registry = registry_pb2_grpc.RegistryStub(channel(*sys.argv[2:]))
    stream = None
    say(ready=True)
    for line in sys.stdin:
        command, *words = line.split()
        if command == "register":
            service, url, ttl = words
            request = pb.RegisterRequest(service=service, url=url, ttl_seconds=int(ttl))
            say(id=registry.Register(request, timeout=10).id)
        elif command == "open":
            stream = Stream(registry, float(words[0]) if words else None)
            say(opened=True)
        elif command == "beat":
            stream.send(pb.KeepAliveRequest(ids=words))
        elif command == "detach":
            stream.send(pb.KeepAliveRequest(ids=words, detach=True))
        elif command == "half-close":
            stream.half_close()
        elif command == "cancel":
            stream.call.cancel()
        elif command == "ride":
            threading.Thread(target=ride, args=(registry, words), daemon=True).start()
        elif command == "deregister":
            answer = registry.Deregister(pb.DeregisterRequest(id=words[0]), timeout=10)
            say(status=answer.status)
        else:
            raise SystemExit(f"unknown command: {line}")


main()
