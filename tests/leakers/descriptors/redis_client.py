"""Asks a Redis for its keys, by a connection for each question, and forgets some: redis_client.py PORT CLOSED FORGOTTEN.
The protocol is that of leaker.h, without a ledger."""

import os
import socket
import sys

port, closed, forgotten = map(int, sys.argv[1:])
kept = []


def ask(connection):
    connection.connect(("127.0.0.1", port))
    connection.sendall(b"*1\r\n$4\r\nPING\r\n")
    if connection.recv(64) != b"+PONG\r\n":
        sys.exit("no PONG")


def close_connection():
    with socket.socket() as connection:
        ask(connection)


def forget_connection():
    connection = socket.socket()
    kept.append(connection)
    ask(connection)


def hear():
    while True:
        byte = os.read(0, 1)
        if not byte:
            sys.exit(3)
        if byte == b"\n":
            return


os.write(1, b"ready\n")
hear()
for index in range(max(closed, forgotten)):
    if index < closed:
        close_connection()
    if index < forgotten:
        forget_connection()
os.write(1, b"done\n")
hear()
