// Clients of Node: its own http and fetch, undici, and axios. Arguments: the server's URL, the file it serves.
import assert from "node:assert";
import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import { Readable } from "node:stream";

const require = createRequire(process.env.CLIENT_MODULES + "/");
const axios = require("axios");
const undici = require("undici");
const [url, path] = process.argv.slice(2);
const file = fs.readFileSync(path);
const data = file.subarray(0, 900_000);

/** One request of node:http, over a pool of connections. */
function ask(agent, options, body) {
  return new Promise((resolve, reject) => {
    const request = http.request(url + options.path, { agent, ...options }, (answer) => {
      const pieces = [];
      answer.on("data", (piece) => pieces.push(piece));
      answer.on("end", () => resolve({ status: answer.statusCode, body: Buffer.concat(pieces), headers: answer.headers }));
      answer.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
const answers = await Promise.all(Array.from({ length: 200 }, () => ask(agent, { path: "/plaintext" })));
assert(answers.every((answer) => answer.status === 200 && answer.body.toString() === "Hello, World!"));
assert(Buffer.compare((await ask(agent, { path: "/echo", method: "POST" }, data)).body, data) === 0);
assert.equal((await ask(agent, { path: "/json", method: "HEAD" })).headers["content-length"], "27");
agent.destroy();

const chunked = await fetch(url + "/echo", { method: "POST", body: Readable.toWeb(Readable.from([data])), duplex: "half" });
assert(Buffer.compare(Buffer.from(await chunked.arrayBuffer()), data) === 0);
const whole = await fetch(url + "/files/large");
assert(Buffer.compare(Buffer.from(await whole.arrayBuffer()), file) === 0);
const copy = await fetch(url + "/files/large", { headers: { "If-None-Match": whole.headers.get("etag") } });
assert.equal(copy.status, 304);

const pool = new undici.Pool(url, { connections: 4, pipelining: 8 });
await Promise.all(Array.from({ length: 200 }, async () => {
  const { statusCode, body } = await pool.request({ path: "/json", method: "GET" });
  assert.equal(statusCode, 200);
  assert.deepEqual(await body.json(), { message: "Hello, World!" });
}));
await pool.close();

const refused = await axios.post(url + "/echo", Buffer.concat(Array(5).fill(file)), { validateStatus: () => true });
assert.equal(refused.status, 413);
assert.equal((await axios.get(url + "/json")).data.message, "Hello, World!");
