// SignalR's own client in front of the policy that `wsgate init signalr` writes.
//
// Arguments: URL, Origin, file with the token, what the client takes itself for (browser, node): a browser carries the
// token in the query, a program as Authorization.

const { HubConnectionBuilder, HttpTransportType, LogLevel } = (() => {
    if (process.argv[5] === "browser") Object.defineProperty(process, "release", { value: {} });
    return require("@microsoft/signalr");
})();
const peer = require("./peer");

const [url, origin, tokenFile, taken] = process.argv.slice(2);
const token = peer.token(tokenFile);
const { WebSocket } = require("ws");

/** What the hub is reached by; it remembers what its handshake came to. */
function sockets(origin, outcome) {
    return class extends WebSocket {
        constructor(url, protocols, { headers } = {}) {
            super(url, protocols, { origin, headers });
            this.on("error", (error) => (outcome.error = error.message.match(/\b4\d\d\b/)?.[0] ?? error.message));
            this.on("close", (code) => (outcome.code = code));
        }
    };
}

async function connect(changed = {}, outcome = {}) {
    const options = { origin: taken === "browser" ? origin : undefined, token, ...changed };
    const hub = new HubConnectionBuilder()
        .withUrl(url.replace(/^wss/, "https"), {
            skipNegotiation: true,
            transport: HttpTransportType.WebSockets,
            accessTokenFactory: () => options.token,
            WebSocket: sockets(options.origin, outcome),
        })
        .configureLogging(LogLevel.None)
        .build();
    const said = new Promise((resolve) => hub.on("said", resolve));
    await hub.start();
    return { hub, said };
}

async function refusal(changed) {
    const outcome = {};
    await connect(changed, outcome).catch(() => {});
    return outcome.error;
}

peer.run(async () => {
    const outcome = {};
    const { hub, said } = await connect({}, outcome);
    console.log(`${await hub.invoke("Say", "grün 🦀")}: ${await said}`);
    const closed = new Promise((resolve) => hub.onclose(resolve));
    hub.send("Say", "y".repeat(65_536)).catch(() => {});
    await closed;
    console.log(`too loud: ${outcome.code}`);
    console.log(`another site's page: ${await refusal({ origin: "https://evil.example" })}`);
    console.log(`no token: ${await refusal({ token: "" })}`);
    console.log(`a forged token: ${await refusal({ token: `${token.slice(0, -8)}AAAAAAAA` })}`);
});
