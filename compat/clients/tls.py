#!/usr/bin/env python3
"""TLS with Debian's tools, redis-py and ioredis, beside Debian's redis-server: `tls.py --server PATH`.

Both servers get the same certificates and directives. Each promise is a function that asks one of them and returns what it
saw; ours must have seen what Redis did. What is meant to differ is not asked here. Certificates are made by openssl, as
people make them: keys of RSA and of elliptic curves, an encrypted key, a client certificate with a name.

Prints `ok - NAME` or `not ok - NAME: why` per promise.
"""

import argparse
import asyncio
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.server import WORK, Server, free_port

import redis
import redis.asyncio

BIG = bytes(range(256)) * 40_000
COMMAND_MAX_S = 60


class Papers:
    """An authority, and certificates that it made, as files."""

    def __init__(self, home: Path):
        self.home = home
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "30",
                     "-subj", "/O=memkv test/CN=authority")
        for name, kind in {"server": "rsa:2048", "client": "rsa:2048", "curve": "ec"}.items():
            self.issue(name, kind)
        self.openssl("pkcs8", "-topk8", "-in", "server.key", "-out", "encrypted.key", "-passout", "pass:sesame")

    def openssl(self, *words: str) -> str:
        return subprocess.run(["openssl", *words], cwd=self.home, capture_output=True, text=True, check=True).stdout

    def issue(self, name: str, kind: str) -> None:
        new_key = ["-newkey", kind] if kind != "ec" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        self.openssl("req", *new_key, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/O=memkv test/CN={name}")
        (self.home / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
                     "-extfile", "names", "-out", f"{name}.crt")

    def __getattr__(self, name: str) -> str:
        stem, kind = name.rsplit("_", 1)
        return str(self.home / f"{stem}.{kind}")


class Side:
    """One of the two servers, and the ways to ask it."""

    def __init__(self, binary: str, papers: Papers):
        self.papers = papers
        self.tls_port = free_port()
        self.server = Server(binary, {
            "tls-port": str(self.tls_port), "tls-cert-file": papers.server_crt, "tls-key-file": papers.server_key,
            "tls-ca-cert-file": papers.ca_crt,
        }).start()

    def words(self, certificate: str = "client") -> list[str]:
        words = ["-p", str(self.tls_port), "--tls", "--cacert", self.papers.ca_crt]
        if certificate:
            words += ["--cert", f"{self.papers.home}/{certificate}.crt", "--key", f"{self.papers.home}/{certificate}.key"]
        return words

    def cli(self, *command: str, certificate: str = "client", stdin: bytes | None = None) -> str:
        done = subprocess.run(["redis-cli", *self.words(certificate), *command], input=stdin, capture_output=True, timeout=COMMAND_MAX_S)
        return done.stdout.decode(errors="replace").strip()

    def plain(self, *command: str) -> str:
        done = subprocess.run(["redis-cli", "-p", str(self.server.port), *command], capture_output=True, timeout=COMMAND_MAX_S)
        return done.stdout.decode(errors="replace").strip()

    def options(self) -> dict:
        return {"host": "127.0.0.1", "port": self.tls_port, "ssl": True, "ssl_ca_certs": self.papers.ca_crt,
                "ssl_certfile": self.papers.client_crt, "ssl_keyfile": self.papers.client_key}

    def client(self, **more) -> redis.Redis:
        return redis.Redis(**self.options(), **more)

    def wire(self, **versions) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self.papers.ca_crt)
        context.load_cert_chain(self.papers.client_crt, self.papers.client_key)
        for name, version in versions.items():
            setattr(context, name, version)
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.tls_port), timeout=20), server_hostname="localhost")


def redis_cli_speaks_tls(side: Side):
    return [side.cli("PING"), side.cli("SET", "a", "b"), side.cli("GET", "a"), side.cli("-3", "HELLO").splitlines()[-2:],
            side.cli("-x", "SET", "big", stdin=BIG), side.cli("STRLEN", "big"), side.cli("--pipe", stdin=b"SET x 1\r\n" * 20_000).splitlines()[-1]]


def who_has_no_certificate_is_shut_out(side: Side):
    seen = [side.cli("PING", certificate="")]
    for choice in ("optional", "no", "yes"):
        seen += [side.cli("CONFIG", "SET", "tls-auth-clients", choice), side.cli("PING", certificate="")]
    return seen


def who_speaks_no_tls_gets_no_answer(side: Side):
    with socket.create_connection(("127.0.0.1", side.tls_port), timeout=20) as wire:
        wire.sendall(b"PING\r\n")
        try:
            return wire.recv(100)
        except ConnectionResetError:
            return b""


def clients_and_info_look_as_in_redis(side: Side):
    fields = side.cli("CLIENT", "LIST").split()
    names = [field.split("=")[0] for field in fields]
    port = re.search(r"^tcp_port:(\d+)", side.cli("INFO", "server"), re.M)
    flags = [field for field in fields if field.startswith(("flags=", "user=", "cmd="))]
    local = [field for field in fields if field == f"laddr=127.0.0.1:{side.tls_port}"]
    return [[n for n in names if n in ("id", "addr", "laddr", "fd", "flags", "user", "resp")], flags, len(local),
            int(port[1]) == side.server.port]


def directives_are_told_and_changed_as_in_redis(side: Side):
    home = str(side.papers.home)
    shown = side.client().config_get("tls-*")
    seen = [shown[name].replace(home, "HOME").replace(str(side.tls_port), "PORT") for name in (
        "tls-port", "tls-cert-file", "tls-key-file", "tls-key-file-pass", "tls-ca-cert-file", "tls-ca-cert-dir", "tls-auth-clients",
        "tls-protocols", "tls-ciphers", "tls-ciphersuites", "tls-session-caching", "tls-session-cache-size", "tls-prefer-server-ciphers")]
    for name, value in [
        ("tls-protocols", "TLSv1.2"), ("tls-protocols", "SSLv9"), ("tls-protocols", ""), ("tls-ciphers", "DEFAULT:!MEDIUM"),
        ("tls-ciphers", "nonsense"), ("tls-ciphersuites", "TLS_AES_128_GCM_SHA256"), ("tls-ciphersuites", "nonsense"),
        ("tls-ciphers", ""), ("tls-ciphersuites", ""), ("tls-cert-file", "/nowhere"), ("tls-key-file", "/nowhere"),
        ("tls-ca-cert-file", "/nowhere"), ("tls-ca-cert-file", ""), ("tls-cert-file", side.papers.client_crt),
        ("tls-session-cache-size", "0"), ("tls-session-cache-timeout", "-1"), ("tls-session-caching", "maybe"),
        ("tls-auth-clients", "perhaps"), ("tls-port", "70000"), ("tls-prefer-server-ciphers", "yes"),
    ]:
        seen += [name, value.replace(home, "HOME"), side.cli("CONFIG", "SET", name, value), side.cli("PING")]
    return seen


def certificates_are_exchanged(side: Side):
    def shown():
        with side.wire() as wire:
            return dict(field[0] for field in wire.getpeercert()["subject"])["commonName"]

    papers, old = side.papers, side.wire()
    seen = [shown(), side.cli("CONFIG", "SET", "tls-cert-file", papers.curve_crt, "tls-key-file", papers.curve_key), shown()]
    seen += [side.cli("CONFIG", "SET", "tls-key-file", papers.encrypted_key, "tls-cert-file", papers.server_crt)]
    seen += [side.cli("CONFIG", "SET", "tls-key-file", papers.encrypted_key, "tls-cert-file", papers.server_crt,
                      "tls-key-file-pass", "sesame"), shown()]
    old.sendall(b"PING\r\n")
    return [*seen, old.recv(100)]


def ports_can_be_exchanged(side: Side):
    with side.wire() as old:
        seen = [side.plain("CONFIG", "SET", "tls-port", "0")]
        time.sleep(0.5)
        seen.append(side.cli("PING"))
        seen += [side.plain("CONFIG", "SET", "tls-port", str(side.tls_port)), side.cli("PING")]
        old.sendall(b"PING\r\n")
        seen += [old.recv(100), side.plain("CONFIG", "SET", "tls-port", str(side.server.port)), side.plain("PING"), side.cli("PING")]
        return [*seen, side.plain("CONFIG", "SET", "port", str(side.tls_port)), side.plain("PING"), side.cli("PING")]


def redis_benchmark_runs(side: Side):
    seen = []
    for more in (["-P", "16"], ["-c", "500"], ["--threads", "2"], ["-d", "65536", "-P", "4"]):
        command = ["redis-benchmark", *side.words(), "-n", "4000", "-t", "set,get", "--csv", *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_MAX_S)
        seen.append([done.returncode, re.findall(r'^"(\w+)"', done.stdout, re.M)])
    return seen


def redis_py_speaks_tls(side: Side):
    seen = []
    for protocol in (2, 3):
        client = side.client(protocol=protocol)
        seen += [client.ping(), client.set("big", BIG), client.get("big") == BIG]
        pipe = client.pipeline(transaction=False)
        for i in range(10_000):
            pipe.incrby(f"n{i % 10}", i)
        seen.append(len(pipe.execute()))
        listener = client.pubsub()
        listener.subscribe("news")
        seen.append(listener.get_message(timeout=10)["type"])
        client.publish("news", b"x" * 100_000)
        seen.append(len(listener.get_message(timeout=10)["data"]))
        seen.append(client.blpop("nothing", timeout=0.1))
        client.flushall()
        listener.close()
        client.close()
    return seen


def redis_py_asyncio_speaks_tls(side: Side):
    async def talk():
        client = redis.asyncio.Redis(**side.options(), max_connections=200)
        await asyncio.gather(*(client.set(f"k{i}", "v" * i) for i in range(200)))
        lengths = await asyncio.gather(*(client.strlen(f"k{i}") for i in range(200)))
        await client.aclose()
        return lengths == list(range(200))

    return asyncio.run(talk())


def ioredis_keeps_its_promises_over_tls(side: Side):
    papers, modules = side.papers, os.environ.get("NODE_PATH", str(WORK / "node" / "node_modules"))
    done = subprocess.run(["node", str(Path(__file__).with_name("ioredis.js")), str(side.tls_port), papers.ca_crt, papers.client_crt,
                           papers.client_key], env={**os.environ, "NODE_PATH": modules}, capture_output=True, text=True, timeout=COMMAND_MAX_S)
    lines = done.stdout.splitlines()
    assert len(lines) > 10 and all(line.startswith("ok - ") for line in lines), (done.stdout + done.stderr)[-600:]
    return lines


def versions_are_those_that_are_safe(side: Side):
    seen = []
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with side.wire(minimum_version=version, maximum_version=version) as wire:
            wire.sendall(b"PING\r\n")
            seen.append([wire.version(), wire.recv(100)])
    old = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{side.tls_port}", "-tls1_1", "-cipher", "ALL@SECLEVEL=0"],
                         input="", capture_output=True, text=True, timeout=COMMAND_MAX_S)
    return [*seen, old.returncode]


def renegotiation_is_refused_and_the_server_lives(side: Side):
    words = ["-cert", side.papers.client_crt, "-key", side.papers.client_key, "-tls1_2"]
    talk = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{side.tls_port}", *words], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in ("PING\n", "R\n"):
        talk.stdin.write(line)
        talk.stdin.flush()
        time.sleep(0.5)
    text, _ = talk.communicate(timeout=COMMAND_MAX_S)
    return ["+PONG" in text, "no renegotiation" in text, side.cli("PING")]


def sessions_are_resumed(side: Side):
    seen = []
    for version in ("-tls1_2", "-tls1_3"):
        ticket = str(side.papers.home / f"session{side.tls_port}{version}")
        words = ["-cert", side.papers.client_crt, "-key", side.papers.client_key, version]
        for more in (["-sess_out", ticket], ["-sess_in", ticket]):
            talk = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{side.tls_port}", *words, *more],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            talk.stdin.write("PING\n")
            talk.stdin.flush()
            time.sleep(0.5)
            text, _ = talk.communicate("QUIT\n", timeout=COMMAND_MAX_S)
            seen += ["+PONG" in text, re.search(r"^(New|Reused), ", text, re.M)[1]]
    return seen


def many_silent_peers_hold_nobody_up(side: Side):
    silent = [socket.create_connection(("127.0.0.1", side.tls_port)) for _ in range(2000)]
    for number, wire in enumerate(silent):
        if number % 2:
            wire.sendall(b"\x16\x03\x01\x02\x00\x01")
    seen = [side.plain("PING"), side.cli("PING")]
    for wire in silent:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()
    return [*seen, side.cli("PING")]


PROMISES = [
    redis_cli_speaks_tls, who_has_no_certificate_is_shut_out, who_speaks_no_tls_gets_no_answer, clients_and_info_look_as_in_redis,
    directives_are_told_and_changed_as_in_redis, certificates_are_exchanged, ports_can_be_exchanged, redis_benchmark_runs,
    redis_py_speaks_tls, redis_py_asyncio_speaks_tls, ioredis_keeps_its_promises_over_tls, versions_are_those_that_are_safe,
    renegotiation_is_refused_and_the_server_lives, sessions_are_resumed, many_silent_peers_hold_nobody_up,
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="memkv-tls-"))
    bad = 0
    try:
        papers = Papers(home)
        for promise in PROMISES:
            name = promise.__name__.replace("_", " ")
            # Each begins on fresh servers: what it changes is its own.
            ours, redis_server = Side(options.server, papers), Side("7.0", papers)
            try:
                theirs, own = promise(redis_server), promise(ours)
                assert own == theirs, f"ours {differing(own, theirs)}"
                assert ours.server.alive(), "the server died"
                print(f"ok - {name}", flush=True)
            except Exception as error:  # every failure is a result, whatever its kind
                bad += 1
                print(f"not ok - {name}: {error!r}", flush=True)
            finally:
                ours.server.terminate()
                redis_server.server.terminate()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return 1 if bad else 0


def differing(own, theirs) -> str:
    """Where two lists differ."""
    if not isinstance(own, list) or len(own) != len(theirs):
        return f"{own!r}, Redis {theirs!r}"
    return "; ".join(f"[{i}] {a!r}, Redis {b!r} behind {own[max(0, i - 3):i]!r}" for i, (a, b) in enumerate(zip(own, theirs)) if a != b)


if __name__ == "__main__":
    sys.exit(main())
