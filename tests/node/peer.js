// A WebSocket by npm's ws as a page opens it: it says where it comes from, and its messages can be awaited one by one.

const { once } = require("node:events");
const { readFileSync } = require("node:fs");
const { WebSocket } = require("ws");

/** The token in the file that a script was told of. */
const token = (file) => readFileSync(file, "utf8").trim();

/** The class of a WebSocket that sends this Origin and these headers: for libraries that construct it by themselves. */
const page = (origin, headers = {}) =>
    class extends WebSocket {
        constructor(url, protocols) {
            super(url, protocols, { origin, headers });
        }
    };

/** An open WebSocket with `next()` for its messages and `closing` for its end; an Error with `status` where refused. */
async function open(url, protocols, options) {
    const socket = new WebSocket(url, protocols, options);
    const [messages, waiting] = [[], []];
    socket.on("message", (bytes, isBinary) => {
        const message = isBinary ? bytes : bytes.toString();
        waiting.length ? waiting.shift()(message) : messages.push(message);
    });
    socket.next = () => new Promise((take) => (messages.length ? take(messages.shift()) : waiting.push(take)));
    socket.closing = once(socket, "close").then(([code, reason]) => `${code} ${reason}`);
    await new Promise((resolve, reject) => {
        socket.on("open", resolve);
        socket.on("error", reject);
        socket.on("unexpected-response", (_, response) => {
            reject(Object.assign(new Error(`answered ${response.statusCode}`), { status: response.statusCode }));
            response.destroy();
        });
    });
    return socket;
}

/** Runs a script to its end: what goes wrong is told on standard error, with exit code 1. */
const run = (main) =>
    main().then(
        () => process.exit(0),
        (error) => {
            console.error(error);
            process.exit(1);
        },
    );

module.exports = { open, page, run, token };
