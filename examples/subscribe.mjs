// Prints what streamcab hears, one line per prediction, until Ctrl-C.
//
//     npm install zeromq
//     node subscribe.mjs                                    # every stream of the daemon on this machine
//     node subscribe.mjs tcp://127.0.0.1:5557 mic           # one stream
//
// The same as subscribe.py: subscribe, take two frames, read JSON, skip what you have. docs/reference/feed.md says what
// else is in a message.

import { Subscriber } from "zeromq";

const [endpoint = "tcp://127.0.0.1:5557", stream] = process.argv.slice(2);

/** One prediction in words. */
function line(message) {
  const clock = new Date(message.time * 1000).toTimeString().slice(0, 8);
  const answer = message.top === null ? "nobody speaks" : `${message.top} ${Math.round(message.confidence * 100)}%`;
  return (
    `${clock}  ${message.stream.padEnd(16)}  ${answer.padEnd(16)}  ${message.state}, ` +
    `${message.voiced_s.toFixed(1)} s of speech, ${Math.round(message.lag_ms)} ms behind`
  );
}

// A daemon that lives says something each second.
const socket = new Subscriber({ receiveTimeout: 3000, linger: 0 });
// A topic is v1/<stream>/<kind>. A subscription is a prefix: `v1/mic` alone would match `mic2` as well.
socket.subscribe(stream ? `v1/${stream}/prediction` : "v1/");
socket.connect(endpoint); // returns at once and keeps trying, so the daemon may start later

const seen = new Map(); // run and seq of the last message, by topic
process.on("SIGINT", () => process.exit(0));
process.on("SIGTERM", () => process.exit(0));

while (true) {
  let frames;
  try {
    frames = await socket.receive();
  } catch (error) {
    if (error.code !== "EAGAIN") throw error;
    console.error(`nothing from ${endpoint} for 3 s: is streamcab running?`);
    continue;
  }
  const topic = frames[0].toString();
  if (!topic.endsWith("/prediction")) continue;
  const message = JSON.parse(frames[1].toString());
  const last = seen.get(topic);
  // Sent again, for somebody who came later than you.
  if (last && last.run === message.run && message.seq <= last.seq) continue;
  seen.set(topic, { run: message.run, seq: message.seq });
  console.log(line(message));
}
