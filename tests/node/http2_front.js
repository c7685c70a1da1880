// Speaks HTTP/2 over TLS, and nothing else, in front of a server that speaks HTTP/1.1: as Kinesis does, and no emulator.
//
//   node http2_front.js CERTIFICATE KEY http://HOST:PORT
//
// Prints its port on standard error, and "SESSION OPERATION" for each call, sessions counted from 1. Answers pass as they come, so
// that the events of a subscription arrive one by one.

const http = require("node:http");
const http2 = require("node:http2");
const fs = require("node:fs");

const [certificate, key, behind] = process.argv.slice(2);
// Of one connection only, and not of HTTP/2: RFC 9113, 8.2.2.
const DROPPED = new Set(["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"]);

const server = http2.createSecureServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key), allowHTTP1: false });
let sessions = 0;
server.on("session", (session) => {
  session.number = ++sessions;
  session.on("error", () => {});
});
server.on("stream", (stream, headers) => {
  const operation = String(headers["x-amz-target"] ?? "").split(".").pop();
  console.log(`${stream.session.number} ${operation}`);
  const passed = Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith(":")));
  // As signed.
  passed.host = headers[":authority"];
  const call = http.request(behind + headers[":path"], { method: headers[":method"], headers: passed });
  call.on("response", (answer) => {
    const shown = Object.entries(answer.headers).filter(([name]) => !DROPPED.has(name));
    if (stream.destroyed) return answer.destroy();
    stream.respond({ ":status": answer.statusCode, ...Object.fromEntries(shown) });
    answer.on("error", () => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR));
    answer.pipe(stream);
  });
  call.on("error", () => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR));
  stream.on("error", () => call.destroy());
  stream.on("close", () => call.destroy());
  stream.pipe(call);
});
server.listen(0, "127.0.0.1", () => console.error(server.address().port));
