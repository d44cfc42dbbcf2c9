// Socket.IO's client in front of the policy that `wsgate init socketio` writes.
//
// Arguments: URL, Origin.

const assert = require("node:assert/strict");
const { once } = require("node:events");
const { io } = require("socket.io-client");
const peer = require("./peer");

const [url, origin] = process.argv.slice(2);
const options = { transports: ["websocket"], reconnection: false, forceNew: true };

function connect(changed = {}, at = url) {
    return io(at, { ...options, auth: { token: "open sesame" }, extraHeaders: { Origin: origin }, ...changed });
}

async function hangUp(socket) {
    const closed = once(socket.io.engine.transport.ws, "close");
    socket.disconnect();
    await closed;
}

/** Socket.IO's own words, or the status of the gateway's answer. */
async function refusal(changed) {
    const [error] = await once(connect(changed), "connect_error");
    const response = error.description?.error?.message ?? error.message;
    return response.match(/\b4\d\d\b/)?.[0] ?? response;
}

peer.run(async () => {
    const [alice, bob] = [connect(), connect()];
    await Promise.all([once(alice, "connect"), once(bob, "connect")]);
    console.log(`connected over ${alice.io.engine.transport.name}`);
    const said = once(bob, "said");
    assert.equal(await alice.emitWithAck("say", "grün 🦀"), "heard");
    assert.deepEqual(await said, ["grün 🦀"]);
    console.log("an event acknowledged and broadcast");
    assert.deepEqual(await alice.emitWithAck("reverse", Buffer.from([1, 2, 3])), Buffer.from([3, 2, 1]));
    assert.equal((await alice.emitWithAck("reverse", Buffer.alloc(900_000))).length, 900_000);
    assert.equal((await alice.emitWithAck("give", 4 << 20)).length, 4 << 20);
    console.log("binary both ways");
    const admin = connect({}, new URL("/admin", url).href);
    assert.deepEqual(await once(admin, "welcome"), ["/admin"]);
    console.log("a namespace");
    const left = once(alice, "disconnect");
    alice.emit("leave");
    console.log(`put out: ${(await left)[0]}`);
    const loud = once(bob, "disconnect");
    bob.emit("reverse", Buffer.alloc((1 << 20) + 1));
    const [, { context }] = await loud;
    console.log(`too loud: ${context.code ?? context}`);
    await hangUp(admin);

    console.log(`a wrong password: ${await refusal({ auth: { token: "open barley" } })}`);
    console.log(`another site's page: ${await refusal({ extraHeaders: { Origin: "https://evil.example" } })}`);
    const cookie = { extraHeaders: { Cookie: "session=abc" } };
    console.log(`no page, a cookie: ${await refusal(cookie)}`);
    const phone = connect({ extraHeaders: {} });
    await once(phone, "connect");
    await hangUp(phone);
    console.log("a phone's app: connected");
});
