// Drives sessions through the gateway by npm's ws: a line for each step that came out as it should.
//
// Arguments: what to do (all, compressed, big), URL, Origin, file with the token. A wrong outcome is a stack trace and
// exit code 1.

const assert = require("node:assert/strict");
const { randomBytes } = require("node:crypto");
const { once } = require("node:events");
const peer = require("./peer");

const [what, url, origin, tokenFile] = process.argv.slice(2);
const token = peer.token(tokenFile);
const ours = ["chat.v2", "bearer", token];

async function open(query = "", protocols = ours, changed = {}) {
    return peer.open(url + query, protocols, { origin, perMessageDeflate: true, ...changed });
}

async function echoes(socket, ...parts) {
    parts.forEach((part, index) => socket.send(part, { fin: index === parts.length - 1 }));
    const whole = typeof parts[0] === "string" ? parts.join("") : Buffer.concat(parts);
    const back = await socket.next();
    assert(typeof back === typeof whole && Buffer.from(back).equals(Buffer.from(whole)), "an echo that differs");
}

async function carriers() {
    const cases = [
        ["a subprotocol", "", ours, {}],
        ["a header", "", ["chat.v2"], { headers: { Authorization: `Bearer ${token}` } }],
        ["the query", `&access_token=${token}`, ["chat.v2"], {}],
        ["a cookie", "", ["chat.v2"], { headers: { Cookie: `session=${token}; theme=dark; mood=grim` } }],
    ];
    for (const [name, ...handshake] of cases) {
        const socket = await open(...handshake);
        assert.equal(socket.protocol, "chat.v2");
        assert.equal(socket.extensions, "", "the gateway strips extensions");
        console.log(`by ${name}: ${await socket.next()}`);
        socket.close(1000);
        await socket.closing;
    }
}

async function messages() {
    const socket = await open();
    await socket.next();
    for (const message of ["grün 🦀", Buffer.from([0, 255]), "", Buffer.alloc(0), "x".repeat(60_000), randomBytes(60_000)])
        await echoes(socket, message);
    console.log("text and binary echoed");
    await echoes(socket, "in ", "three ", "fragments");
    await echoes(socket, Buffer.from([0]), Buffer.alloc(0), Buffer.from([255]));
    socket.send("please fragment");
    assert.equal(await socket.next(), "in three fragments");
    console.log("fragments passed both ways");
    socket.ping("are you there");
    const [payload] = await once(socket, "pong");
    assert.equal(payload.toString(), "are you there");
    socket.send("please ping");
    assert.equal(await socket.next(), "ponged");
    console.log("pings answered both ways");
    socket.close(1000);
    await socket.closing;
}

async function closures() {
    for (const code of [1000, 1001, 1008, 1011, 1013, 3000, 4000, 4999]) {
        const theirs = await open();
        await theirs.next();
        theirs.send(`please close ${code} as you wish`);
        assert.equal(await theirs.closing, `${code} as you wish`);
        const mine = await open();
        await mine.next();
        mine.close(code, "grün, as I wish");
        await mine.closing;
    }
    console.log("closed by either side");
}

async function refusals() {
    const socket = await open();
    await socket.next();
    socket.send("y".repeat(65_537));
    console.log(`a message too big: ${(await socket.closing).slice(0, 4)}`);
    const cases = [
        ["a foreign origin", "", ours, { origin: "https://evil.example" }],
        ["no origin, a cookie", "", ours, { origin: undefined, headers: { Cookie: "theme=dark" } }],
        ["no token", "", ["chat.v2"], {}],
        ["half a token", "", ["chat.v2", "bearer", token.slice(0, -8)], {}],
        ["two tokens", `&access_token=${token}`, ours, {}],
        ["no subprotocol of ours", "", ["chat.v9", "bearer", token], {}],
    ];
    for (const [name, ...handshake] of cases) {
        const refusal = await open(...handshake).then(() => assert.fail(`${name} was admitted`), (error) => error);
        console.log(`${name}: ${refusal.status ?? refusal}`);
    }
}

async function compressed() {
    const socket = await open();
    assert.match(socket.extensions, /^permessage-deflate/);
    await socket.next();
    await echoes(socket, "a".repeat(60_000));
    await echoes(socket, randomBytes(30_000));
    await echoes(socket, "in ", "three ", "fragments");
    console.log("compressed messages echoed");
    socket.close(1000);
    await socket.closing;
}

async function big() {
    const size = 16 << 20;
    const socket = await open();
    await socket.next();
    await echoes(socket, randomBytes(size));
    console.log("16 MiB of binary echoed");
    await echoes(socket, "é".repeat(size / 2));
    console.log("16 MiB of text echoed");
    await echoes(socket, ...Array.from({ length: 16 }, () => randomBytes(1 << 20)));
    console.log("16 MiB in fragments echoed");
    socket.send(Buffer.alloc(size + 1));
    console.log(`a byte more from here: ${(await socket.closing).slice(0, 4)}`);
    const other = await open();
    await other.next();
    other.send(`please send ${size + 1}`);
    console.log(`a byte more from there: ${(await other.closing).slice(0, 4)}`);
}

const parts = { all: [carriers, messages, closures, refusals], compressed: [compressed], big: [big] };
peer.run(async () => {
    for (const part of parts[what]) await part();
});
