// A page and a program that talk to any service through the policy `wsgate init plain` writes.
//
// Arguments: URL, Origin, file with the token.

const assert = require("node:assert/strict");
const peer = require("./peer");

const [url, origin, tokenFile] = process.argv.slice(2);
const token = peer.token(tokenFile);

async function echoes(socket) {
    console.log(await socket.next());
    socket.send("hello");
    assert.equal(await socket.next(), "hello");
    socket.send(Buffer.alloc(65_536));
    assert.equal((await socket.next()).length, 65_536);
}

async function status(...handshake) {
    const refusal = await peer.open(...handshake).then(() => assert.fail("admitted"), (error) => error);
    return refusal.status ?? refusal;
}

peer.run(async () => {
    const page = await peer.open(url, ["bearer", token], { origin });
    assert.equal(page.protocol, "bearer");
    await echoes(page);
    page.send("please close 4000 as you wish");
    console.log(`our page: ${await page.closing}`);

    const program = await peer.open(url, [], { headers: { Authorization: `Bearer ${token}` } });
    await echoes(program);
    program.send(Buffer.alloc(65_537));
    console.log(`a program, too loud: ${(await program.closing).slice(0, 4)}`);

    console.log(`another site's page: ${await status(url, ["bearer", token], { origin: "https://evil.example" })}`);
    console.log(`no token: ${await status(url, [], { origin })}`);
    console.log(`a forged token: ${await status(url, ["bearer", `${token.slice(0, -8)}AAAAAAAA`], { origin })}`);
});
