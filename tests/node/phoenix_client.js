// Phoenix's own client in front of the policy that `wsgate init phoenix` writes.
//
// Arguments: URL, Origin, file with the token.

const assert = require("node:assert/strict");
const { once } = require("node:events");
const { Socket } = require("phoenix");
const peer = require("./peer");

const [url, origin, tokenFile] = process.argv.slice(2);
const token = peer.token(tokenFile);

function connect(options = {}) {
    const socket = new Socket(url, { params: { token }, transport: peer.page(origin), ...options });
    socket.connect();
    return socket;
}

/** The answer to a join or a message. */
function answer(push) {
    return new Promise((resolve, reject) => push.receive("ok", resolve).receive("error", reject));
}

function hangUp(socket) {
    const closed = once(socket.conn, "close");
    socket.disconnect();
    return closed;
}

/** The status of the gateway's answer. */
async function refusal(options) {
    const socket = connect(options);
    const [error] = await once(socket.conn, "error");
    socket.disconnect();
    return error.message.match(/\b4\d\d\b/)?.[0] ?? error.message;
}

peer.run(async () => {
    const [page, other] = [connect(), connect()];
    const [room, mirror] = [page.channel("room:open"), other.channel("room:open")];
    console.log(`joined: ${JSON.stringify(await answer(room.join()))}`);
    await answer(mirror.join());
    const said = new Promise((resolve) => mirror.on("said", resolve));
    await answer(room.push("say", { text: "grün 🦀" }));
    assert.deepEqual(await said, { from: "alice", text: "grün 🦀" });
    console.log("said and broadcast");
    const bytes = await answer(room.push("reverse", Uint8Array.from([1, 2, 3]).buffer));
    assert.deepEqual([...new Uint8Array(bytes)], [3, 2, 1]);
    assert.equal((await answer(room.push("reverse", new ArrayBuffer(60_000)))).byteLength, 60_000);
    console.log("binary both ways");
    console.log(`a locked room: ${JSON.stringify(await answer(page.channel("room:locked").join()).catch((why) => why))}`);
    await new Promise((resolve) => page.ping(resolve));
    console.log("a heartbeat");
    const closed = once(other.conn, "close");
    mirror.push("reverse", new ArrayBuffer(65_536));
    console.log(`too loud: ${(await closed)[0]}`);
    other.disconnect();
    await hangUp(page);
    const program = connect({ transport: peer.page(undefined) });
    await once(program.conn, "open");
    await hangUp(program);
    console.log("a program: connected");

    console.log(`another site's page: ${await refusal({ transport: peer.page("https://evil.example") })}`);
    console.log(`no token: ${await refusal({ params: {} })}`);
    console.log(`a forged token: ${await refusal({ params: { token: `${token.slice(0, -8)}AAAAAAAA` } })}`);
    console.log(`a token as authToken: ${await refusal({ params: {}, authToken: token })}`);
});
