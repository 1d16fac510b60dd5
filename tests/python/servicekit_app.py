"""A service built on servicekit, unmodified, on a port of the loopback.

Usage: servicekit_app.py ID NAME PORT KEEPALIVE_SECONDS. Port 0 takes a free one; it is
printed as `port N`. Where to register is in SERVICEKIT_ORCHESTRATOR_URL, as ever.
"""

import os
import socket
import sys

import uvicorn
from servicekit.api import BaseServiceBuilder, ServiceInfo


def main():
    slug, name, port, keepalive = sys.argv[1:]
    listener = socket.socket()
    # A restart takes the same port while old connections still linger.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(port)))
    os.environ["SERVICEKIT_HOST"] = "127.0.0.1"
    os.environ["SERVICEKIT_PORT"] = str(listener.getsockname()[1])
    print("port", os.environ["SERVICEKIT_PORT"], flush=True)

    app = (
        BaseServiceBuilder(info=ServiceInfo(id=slug, display_name=name))
        .with_registration(keepalive_interval=float(keepalive))
        .build()
    )
    uvicorn.Server(uvicorn.Config(app)).run(sockets=[listener])


main()
