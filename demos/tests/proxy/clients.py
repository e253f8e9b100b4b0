"""Clients with addresses of their own: connects from 127.0.1.1, 127.0.1.2 ... and prints for each what the server says.

Arguments: the port, and how many clients.
"""

import socket
import sys

port, clients = int(sys.argv[1]), int(sys.argv[2])
for number in range(1, clients + 1):
    with socket.create_connection(("127.0.0.1", port), 20, source_address=(f"127.0.1.{number}", 0)) as client:
        client.shutdown(socket.SHUT_WR)
        said = b""
        while received := client.recv(4096):
            said += received
        print(said.decode())
