// Rails' own client in front of the policy that `wsgate init actioncable` writes.
//
// Arguments: URL, Origin, address of the application, where users log in.

const assert = require("node:assert/strict");
const { EventEmitter, once } = require("node:events");
// The client looks whether its page is in sight.
globalThis.addEventListener = globalThis.removeEventListener = () => {};
globalThis.document = { visibilityState: "visible" };
const { adapters, createConsumer } = require("@rails/actioncable");
const peer = require("./peer");

const [url, origin, application] = process.argv.slice(2);

/** The cookie of a session that the application began. */
async function login(name) {
    const answer = await fetch(`${application}/login/${name}`);
    assert.equal(answer.status, 204);
    return answer.headers.getSetCookie()[0].split(";")[0];
}

function consumer(cookie) {
    adapters.WebSocket = peer.page(origin, { Cookie: cookie });
    const consumer = createConsumer(url);
    consumer.connect();
    return consumer;
}

/** A subscription, and its first message; an Error where the channel rejects it. */
function subscribe(consumer, room) {
    return new Promise((resolve, reject) => {
        const messages = new EventEmitter();
        const subscription = consumer.subscriptions.create({ channel: "RoomChannel", room }, {
            connected: () => resolve([subscription, once(messages, "received")]),
            rejected: () => reject(new Error("rejected")),
            received: (message) => messages.emit("received", message),
        });
    });
}

function hangUp(consumer) {
    const closed = once(consumer.connection.webSocket, "close");
    consumer.disconnect();
    return closed;
}

const status = (...handshake) => peer.open(...handshake).then(() => "admitted", (error) => error.status);

peer.run(async () => {
    const [alice, bob] = [consumer(`${await login("alice")}; theme=dark`), consumer(await login("bob"))];
    const [said, heard] = await subscribe(alice, "open");
    const [, heardByBob] = await subscribe(bob, "open");
    console.log("two sessions subscribed");
    said.perform("speak", { text: "grün 🦀" });
    assert.deepEqual([await heard, await heardByBob], Array(2).fill([{ from: "alice", text: "grün 🦀" }]));
    console.log("spoken and broadcast");
    console.log(`a locked room: ${await subscribe(bob, "locked").catch(({ message }) => message)}`);
    await Promise.all([alice, bob].map(hangUp));

    const protocols = ["actioncable-v1-json", "actioncable-unsupported"];
    const nobody = await peer.open(url, protocols, { origin });
    console.log(`no session: ${await nobody.next()}`);
    await nobody.closing;
    const headers = { Cookie: await login("alice") };
    console.log(`another site's page: ${await status(url, protocols, { headers, origin: "https://evil.example" })}`);
    console.log(`no page, a session: ${await status(url, protocols, { headers })}`);
});
