"""Between the program and the emulators: a proxy that makes S3, Glue, DynamoDB and Kinesis slow, refuse, fail and lose answers.

Each service has an address of its own, so that the network to one of them can be cut. Calls pass unchanged, with their signatures.
A fault is either named in advance (`inject`), drawn at random from a seed (`chance`), or a cut (`cut`); every call
and every fault is counted. The connections are asyncio's, HTTP is h11's.
"""

import asyncio
import collections
import json
import random
import socket
import struct
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import NamedTuple

import h11

S3, GLUE, DYNAMODB = SERVICES = ("s3", "glue", "dynamodb")
# Used if the proxy is given a Kinesis, which often is another emulator.
KINESIS = "kinesis"

# What can happen to a call.
THROTTLED = "throttled"  # refused for now, nothing was done
FAILED = "failed"  # an error of the service, before anything was done
FAILED_AFTER = "failed after"  # the same, but it was done
UNAVAILABLE = "unavailable"  # a 503 without a word, as a balancer in between answers
RESET = "reset"  # the connection breaks before the call arrives
LOST = "lost"  # the call is carried out, and the connection breaks before the answer
TRUNCATED = "truncated"  # it is carried out, and the answer breaks off in the middle
LATE = "late"  # it is carried out, and the answer comes after the caller has given up
CONFLICT = "conflict"  # S3 and Glue: another change of the same thing was under way
EXPIRED = "expired"  # the session's credentials

CUT = "cut"  # no connection; counted without an operation

# Faults of calls that are carried out, whatever the caller hears.
DONE = {FAILED_AFTER, LOST, TRUNCATED, LATE}

# HTTP status and code.
ANSWERS = {
    (S3, THROTTLED): (503, "SlowDown"),
    (S3, FAILED): (500, "InternalError"),
    (S3, FAILED_AFTER): (500, "InternalError"),
    (S3, CONFLICT): (409, "ConditionalRequestConflict"),
    (S3, EXPIRED): (400, "ExpiredToken"),
    (GLUE, THROTTLED): (400, "ThrottlingException"),
    (GLUE, FAILED): (500, "InternalServiceException"),
    (GLUE, FAILED_AFTER): (500, "InternalServiceException"),
    (GLUE, CONFLICT): (400, "ConcurrentModificationException"),
    (GLUE, EXPIRED): (400, "ExpiredTokenException"),
    (KINESIS, THROTTLED): (400, "ProvisionedThroughputExceededException"),
    (KINESIS, FAILED): (500, "InternalFailure"),
    (KINESIS, FAILED_AFTER): (500, "InternalFailure"),
    (KINESIS, EXPIRED): (400, "ExpiredTokenException"),
    (DYNAMODB, THROTTLED): (400, "ProvisionedThroughputExceededException"),
    (DYNAMODB, FAILED): (500, "InternalServerError"),
    (DYNAMODB, FAILED_AFTER): (500, "InternalServerError"),
    (DYNAMODB, EXPIRED): (400, "ExpiredTokenException"),
}

# Faults that any call may meet. Conflicts, and faults that end a process, must be asked for by name.
ANYWHERE = (THROTTLED, FAILED, FAILED_AFTER, UNAVAILABLE, RESET, LOST, TRUNCATED)

# Faults that a subscription may meet; later, only a cut loses something.
ANSWERED_AT_ONCE = {THROTTLED, FAILED, FAILED_AFTER, UNAVAILABLE}

READ = 1 << 16
WAIT_SECONDS = 60


@dataclass
class Call:
    """One request."""

    service: str
    operation: str
    # What the call is about, so that no fault strikes the same thing twice in a row.
    subject: str
    # AWS_SDK_UA_APP_ID of the caller, or nothing.
    caller: str
    request: h11.Request
    body: bytes = b""

    @property
    def name(self):
        return f"{self.service}:{self.operation}"


def s3_operation(method, path, query, headers):
    if method == "PUT":
        if "partNumber" in query:
            return "UploadPart"
        if "/" not in path.strip("/"):
            return "CreateBucket"
        return "CopyObject" if b"x-amz-copy-source" in headers else "PutObject"
    if method == "POST":
        return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
    if method == "DELETE":
        return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
    if method == "HEAD":
        return "HeadObject"
    return "ListObjectsV2" if "list-type" in query else "GetObject"


def understand(service, request, body):
    """What a request asks for."""
    headers = dict(request.headers)
    path, _, query = request.target.decode().partition("?")
    query = urllib.parse.parse_qs(query, keep_blank_values=True)
    agent = headers.get(b"x-amz-user-agent", headers.get(b"user-agent", b"")).decode("latin-1").split()
    caller = next((word[4:] for word in agent if word.startswith("app/")), "")
    if service == S3:
        operation = s3_operation(request.method.decode(), path, query, headers)
        subject = path + "".join(query.get("prefix", []))
    else:
        operation = headers[b"x-amz-target"].decode().partition(".")[2]
        asked = json.loads(body or b"{}")
        table = asked.get("Name") or asked.get("TableInput", {}).get("Name") or asked.get("TableName")
        table = table or asked.get("ShardId") or asked.get("StreamName") or asked.get("StreamARN")
        subject = f"{asked.get('DatabaseName', '')}.{table}"
    return Call(service, operation, f"{operation} {subject}", caller, request, body)


def refusal(call, fault):
    """The answer of the service to a call that it did not carry out, or claims not to have."""
    if fault == UNAVAILABLE:
        return h11.Response(status_code=503, headers=[("content-length", "0")]), b""
    status, code = ANSWERS[call.service, fault]
    if call.service == S3:
        kind = "application/xml"
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>injected</Message></Error>'.encode()
    else:
        kind = "application/x-amz-json-1.0" if call.service == DYNAMODB else "application/x-amz-json-1.1"
        body = json.dumps({"__type": code, "message": "injected"}).encode()
    headers = [("content-type", kind), ("content-length", str(len(body))), ("x-amz-request-id", "injected")]
    return h11.Response(status_code=status, headers=headers), b"" if call.request.method == b"HEAD" else body


class Answered(NamedTuple):
    """What the emulator answered to a call, and when."""

    caller: str
    subject: str
    status: int
    # Seconds of the Unix clock, including the proxy's delays.
    asked: float
    told: float


@dataclass
class Hold:
    """Holds the next call that fits, before it is carried out, until it is released."""

    fits: object
    call: Call = None
    # The service's own answer.
    status: int = None
    arrived: threading.Event = field(default_factory=threading.Event)
    go: asyncio.Event = None
    loop: object = None
    passed: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds=WAIT_SECONDS):
        """Waits until a call is held; returns it."""
        assert self.arrived.wait(seconds), "no call came that could be held"
        return self.call

    def release(self):
        """Lets the call go on, and waits until the service has answered it."""
        self.loop.call_soon_threadsafe(self.go.set)
        assert self.passed.wait(WAIT_SECONDS), "the held call did not come through"


class FaultProxy:
    """The proxy. It runs in a thread of its own from the start."""

    def __init__(self, target, seed=1, delays=None, late_seconds=30, kinesis=None):
        self.services = (*SERVICES, KINESIS) if kinesis else SERVICES
        parts = {service: urllib.parse.urlsplit(kinesis if service == KINESIS else target) for service in self.services}
        self._targets = {service: (at.hostname, at.port) for service, at in parts.items()}
        self._random = random.Random(seed)
        self._late = late_seconds
        # By how many seconds each call of a service is delayed.
        self.delays = delays or {}
        # Calls by (service, operation), and faults by (service, operation, fault).
        self.calls, self.faults = collections.Counter(), collections.Counter()
        # What the emulator has answered, in order.
        self.answered = []
        self._named = collections.defaultdict(collections.deque)
        self._faulted = set()
        self._chance, self._chance_faults = 0.0, ()
        self._holds = []
        # Connections that wait for another call, by target.
        self._idle = collections.defaultdict(list)
        self._cut = set()
        self._open = collections.defaultdict(set)
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self.ports = {}
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        for service in self.services:
            self.ports[service] = self._run(self._listen(service))

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_SECONDS)

    async def _listen(self, service):
        def serve(reader, writer):
            return self._serve(service, reader, writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        return server.sockets[0].getsockname()[1]

    def url(self, service):
        return f"http://127.0.0.1:{self.ports[service]}"

    def env(self, emulator):
        """The environment in which a program goes through the proxy instead of straight to the emulator."""
        words = {key: value for key, value in emulator.env.items() if key != "AWS_ENDPOINT_URL"}
        return {**words, **{f"AWS_ENDPOINT_URL_{service.upper()}": self.url(service) for service in self.services}}

    def inject(self, service, operation, *faults):
        """Lets each of the faults strike one of the next calls of the operation, in turn."""
        with self._lock:
            self._named[service, operation].extend(faults)

    def not_injected(self):
        """What is still to be injected, as (service, operation, fault)."""
        with self._lock:
            return [(*key, fault) for key, faults in self._named.items() for fault in faults]

    def chance(self, share, faults=ANYWHERE):
        """From now on, one of the faults strikes this share of all calls."""
        self._chance, self._chance_faults = share, tuple(faults)

    def hold(self, service, operation, fits=lambda call: True):
        """Holds the next call of the operation that fits."""
        hold = Hold(lambda call: (call.service, call.operation) == (service, operation) and fits(call), loop=self._loop)
        with self._lock:
            self._holds.append(hold)
        return hold

    def cut(self, service):
        """Cuts the network to a service: connections break, and so do new ones, until it is mended."""
        self._run(self._do_cut(service))

    async def _do_cut(self, service):
        self._cut.add(service)
        for writer in list(self._open[service]):
            abort(writer)

    def mend(self, service):
        """Ends a cut."""
        self._cut.discard(service)

    def stop(self):
        """Breaks all connections and ends the proxy."""
        for service in self.services:
            self.cut(service)
        self._run(self._let_go())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _let_go(self):
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _serve(self, service, reader, writer):
        if service in self._cut:
            with self._lock:
                self.faults[service, "", CUT] += 1
            return abort(writer)
        self._open[service].add(writer)
        try:
            connection = h11.Connection(h11.SERVER)
            while await self._exchange(service, connection, reader, writer):
                connection.start_next_cycle()
        except (OSError, h11.RemoteProtocolError, asyncio.IncompleteReadError):
            pass  # The caller went away, as a killed process does.
        finally:
            self._open[service].discard(writer)
            writer.close()

    async def _exchange(self, service, connection, reader, writer):
        """Passes on one call and its answer; returns whether another may follow."""
        request = await next_event(connection, reader)
        if not isinstance(request, h11.Request):
            return False
        if connection.they_are_waiting_for_100_continue:
            writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])))
        body = await body_of(connection, reader)
        call = understand(service, request, body)
        asked = time.time()
        fault, hold = self._decide(call)
        await asyncio.sleep(self.delays.get(service, 0))
        if hold:
            hold.call, hold.go = call, asyncio.Event()
            hold.arrived.set()
            await hold.go.wait()
        if not hold and (service in self._cut or fault == RESET):
            abort(writer)
            return False
        if call.operation == "SubscribeToShard" and fault not in ANSWERED_AT_ONCE:
            await self._relay(call, writer)
            return False
        response = None
        try:
            if fault and fault not in DONE:
                response, answer = refusal(call, fault)
            else:
                response, answer = await self._forward(call)
                told = Answered(call.caller, call.subject, response.status_code, asked, time.time())
                self.answered.append(told)
        finally:
            if hold:
                hold.status = response.status_code if response else None
                hold.passed.set()
        if fault == FAILED_AFTER:
            response, answer = refusal(call, fault)
        if fault == LATE:
            # The caller gives up meanwhile and goes away, or gets no answer.
            await asyncio.sleep(self._late)
        if fault in (LOST, LATE) or service in self._cut:
            abort(writer)
            return False
        head = connection.send(response)
        bytes_sent = head + (connection.send(h11.Data(answer)) if answer else b"")
        if fault == TRUNCATED:
            # In the middle of the body; if there is none, of the head.
            cut_at = len(head) + len(answer) // 2 if answer else len(head) // 2
            writer.write(bytes_sent[:cut_at])
            await writer.drain()
            writer.close()
            return False
        writer.write(bytes_sent + connection.send(h11.EndOfMessage()))
        await writer.drain()
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    def _decide(self, call):
        with self._lock:
            self.calls[call.service, call.operation] += 1
            hold = next((hold for hold in self._holds if hold.fits(call)), None)
            if hold:
                self._holds.remove(hold)
            fault = None if hold else self._fault(call)
            if fault:
                self.faults[call.service, call.operation, fault] += 1
        return fault, hold

    def _fault(self, call):
        # The next attempt on the same thing gets through: the test is of one fault, not of giving up after many.
        if call.subject in self._faulted:
            self._faulted.discard(call.subject)
            return None
        named = self._named[call.service, call.operation]
        fault = None
        if named:
            fault = named.popleft()
        elif self._random.random() < self._chance:
            fault = self._random.choice(self._chance_faults)
        if fault:
            self._faulted.add(call.subject)
        return fault

    async def _relay(self, call, writer):
        """Passes on the events of a subscription as they come, for minutes, until a side goes away or the network is cut."""
        reader, onward = await asyncio.open_connection(*self._targets[call.service])
        try:
            onward.write(self._request(h11.Connection(h11.CLIENT), call))
            while piece := await reader.read(READ):
                writer.write(piece)
                await writer.drain()
        finally:
            onward.close()

    def _request(self, connection, call):
        headers = [(name, value) for name, value in call.request.headers.raw_items() if name.lower() not in HOP]
        headers.append((b"Content-Length", str(len(call.body)).encode()))
        request = h11.Request(method=call.request.method, target=call.request.target, headers=headers)
        data = connection.send(request) + (connection.send(h11.Data(call.body)) if call.body else b"")
        return data + connection.send(h11.EndOfMessage())

    async def _forward(self, call):
        """Sends a call to the emulator; returns head and body of the answer."""
        target = self._targets[call.service]
        while True:
            fresh = not self._idle[target]
            if fresh:
                reader, writer = await asyncio.open_connection(*target)
                connection = h11.Connection(h11.CLIENT)
            else:
                reader, writer, connection = self._idle[target].pop()
            writer.write(self._request(connection, call))
            try:
                response = await next_event(connection, reader)
                while isinstance(response, h11.InformationalResponse):
                    response = await next_event(connection, reader)
                if isinstance(response, h11.ConnectionClosed):
                    raise ConnectionResetError
            except (OSError, h11.RemoteProtocolError):
                # The emulator has closed this idle connection meanwhile, and so has not read the call.
                writer.close()
                if fresh:
                    raise
                continue
            answer = await body_of(connection, reader)
            if connection.our_state is h11.DONE and connection.their_state is h11.DONE:
                connection.start_next_cycle()
                self._idle[target].append((reader, writer, connection))
            else:
                writer.close()
            return whole(response, call, answer), answer


# Headers of a connection, not of the message; and lengths, which are set anew.
HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"expect"}


def whole(response, call, answer):
    """The head of an answer whose body is known. HEAD gives the length of a body that it does not bring."""
    length = dict(response.headers).get(b"content-length", b"0")
    kept = [(name, value) for name, value in response.headers.raw_items() if name.lower() not in HOP]
    if response.status_code not in (204, 304):
        bodiless = call.request.method == b"HEAD"
        kept.append((b"Content-Length", length if bodiless else str(len(answer)).encode()))
    return h11.Response(status_code=response.status_code, headers=kept, reason=response.reason)


async def next_event(connection, reader):
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(READ))
    return event


async def body_of(connection, reader):
    pieces = []
    while isinstance(event := await next_event(connection, reader), h11.Data):
        pieces.append(bytes(event.data))
    if not isinstance(event, h11.EndOfMessage):
        raise ConnectionResetError
    return b"".join(pieces)


def abort(writer):
    """Breaks a connection at once: the caller sees a reset, not an end."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
