// One round through the Aggregation service from JavaScript: what a server in another language has to write.
// node round.mjs PROTO HOST:PORT CERTIFICATES NAME < {"session": ..., "rows": [[...]]} > the answer as JSON
import fs from "node:fs";
import path from "node:path";
import zlib from "node:zlib";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [proto, server, folder, name] = process.argv.slice(2);
const read = (file) => fs.readFileSync(path.join(folder, file));
const credentials = grpc.credentials.createSsl(read("ca.crt"), read(`${name}.key`), read(`${name}.crt`));
const definition = loader.loadSync(proto, { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true });
const client = new (grpc.loadPackageDefinition(definition).hawthorn.v1.Aggregation)(server, credentials);

const { session, defense, rows } = JSON.parse(fs.readFileSync(0));
const open = { session, defense, dimension: rows[0].length, numbers: "FLOAT32", clients: rows.length };
const opened = await new Promise((resolve, reject) =>
  client.Open(open, (error, reply) => (error ? reject(error) : resolve(reply))),
);

const call = client.Round();
const answer = { opened, chunks: [] };
const over = new Promise((resolve, reject) => {
  call.on("data", (reply) => (reply.part === "judgement" ? (answer.judgement = reply.judgement) : answer.chunks.push(reply.chunk)));
  call.on("error", reject);
  call.on("end", resolve);
});
call.write({ begin: { session, round: opened.rounds + 1 } });
rows.forEach((row, place) => {
  call.write({ update: { client: `site-${place}` } });
  const bytes = Buffer.from(Float32Array.from(row).buffer);
  for (let offset = 0; offset < bytes.length; offset += opened.chunk_bytes) {
    const data = bytes.subarray(offset, offset + opened.chunk_bytes);
    call.write({ chunk: { offset, data, crc32: zlib.crc32(data) } });
  }
});
call.write({ end: {} });
call.end();
await over;

const sound = answer.chunks.every((chunk) => zlib.crc32(chunk.data) === chunk.crc32);
const aggregate = Buffer.concat(answer.chunks.map((chunk) => chunk.data)).toString("hex");
const accepted = answer.judgement.verdicts.map((verdict) => verdict.accepted);
console.log(JSON.stringify({ defense: opened.defense, sound, aggregate, accepted }));
client.close();
