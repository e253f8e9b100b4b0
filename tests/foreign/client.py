"""Clients of Python: what each of them sends and reads in its own way. Arguments: the server's URL, the file it serves."""
import asyncio
import http.client
import io
import sys
import urllib.request
from urllib.parse import urlsplit

import aiohttp
import httpx
import requests

URL, FILE = sys.argv[1], open(sys.argv[2], "rb").read()
DATA = FILE[:900_000]
BIG = FILE * 10


def pieces(data):
    for start in range(0, len(data), 65_536):
        yield data[start:start + 65_536]


def standard_library():
    assert urllib.request.urlopen(URL + "/plaintext", timeout=30).read() == b"Hello, World!"
    address = urlsplit(URL).netloc
    # It sends all of a body before it reads: a refusal must not be lost.
    for body, headers in ((BIG, {}), (pieces(BIG), {"Transfer-Encoding": "chunked"})):
        for _ in range(3):
            connection = http.client.HTTPConnection(address, timeout=30)
            connection.request("POST", "/echo", body=body if headers == {} else pieces(BIG), headers=headers,
                               encode_chunked=bool(headers))
            assert connection.getresponse().status == 413
    connection = http.client.HTTPConnection(address, timeout=30)
    for _ in range(50):
        connection.request("HEAD", "/json")
        answer = connection.getresponse()
        assert (answer.status, answer.read(), answer.headers["Content-Length"]) == (200, b"", "27")
        connection.request("POST", "/echo", body=pieces(DATA), encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})
        assert connection.getresponse().read() == DATA


def with_requests():
    with requests.Session() as session:
        assert session.get(URL + "/json").json() == {"message": "Hello, World!"}
        assert session.post(URL + "/echo", data=DATA).content == DATA
        assert session.post(URL + "/echo", data=pieces(DATA)).content == DATA
        first = session.get(URL + "/files/large")
        assert first.content == FILE
        copy = session.get(URL + "/files/large", headers={"If-None-Match": first.headers["ETag"]})
        assert (copy.status_code, copy.content) == (304, b"")
        part = session.get(URL + "/files/large", headers={"Range": "bytes=-10", "If-Range": first.headers["ETag"]})
        assert (part.status_code, part.content) == (206, FILE[-10:])
        assert session.options(URL + "/json").headers["Allow"] == "GET, HEAD, OPTIONS"
        assert session.get(URL + "/none").status_code == 404


def with_httpx():
    with httpx.Client(timeout=30) as client:
        assert client.get(URL + "/plaintext").text == "Hello, World!"
        assert client.post(URL + "/echo", content=pieces(DATA)).content == DATA
        assert client.delete(URL + "/json").status_code == 405
        # It is built on h11, which complains of content after the head of an answer to HEAD.
        assert client.head(URL + "/json", headers={"Expect": "x"}).status_code == 417
        assert client.head(URL + "/plaintext").headers["Content-Length"] == "13"


async def with_aiohttp():
    async with aiohttp.ClientSession() as session:
        async def echo(number):
            data = DATA[number:number + 10_000]
            async with session.post(URL + "/echo", data=io.BytesIO(data)) as answer:
                assert await answer.read() == data
        await asyncio.gather(*map(echo, range(100)))
        async with session.get(URL + "/files/large") as answer:
            assert await answer.read() == FILE


standard_library()
with_requests()
with_httpx()
asyncio.run(with_aiohttp())
