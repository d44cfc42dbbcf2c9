// The client of graphql-ws in front of the policy that `wsgate init graphql` writes.
//
// Arguments: URL, Origin.

const { createClient } = require("graphql-ws");
const peer = require("./peer");

const [url, origin] = process.argv.slice(2);

function connect(changed = {}) {
    const connectionParams = { token: "open sesame" };
    return createClient({ url, webSocketImpl: peer.page(origin), connectionParams, retryAttempts: 0, ...changed });
}

async function ask(client, query, variables) {
    const results = [];
    for await (const { data, errors } of client.iterate({ query, variables })) results.push(errors ?? data);
    return JSON.stringify(results);
}

const greet = "query Greet($name: String!) { greeting(name: $name) }";

/** The code with which the service or the gateway closed, or the status of the gateway's answer. */
async function refusal(client, name = "alice") {
    const told = await ask(client, greet, { name }).catch((error) => error);
    return told.code ?? told.message?.match(/\b4\d\d\b/)?.[0] ?? told;
}

peer.run(async () => {
    const client = connect();
    console.log(await ask(client, greet, { name: "grün 🦀" }));
    console.log(await ask(client, "subscription { countdown(from: 3) }"));
    const several = [1, 2].map((from) => ask(client, `subscription { countdown(from: ${from}) }`));
    console.log((await Promise.all(several)).join(" "));
    console.log(await ask(client, "{ nothing }").catch(([{ message }]) => message));
    await client.dispose();
    const bulky = "x".repeat(250_000);
    console.log(`a document of ${(await ask(connect(), greet, { name: bulky })).length - bulky.length} and 250000`);

    console.log(`a document too big: ${await refusal(connect(), "x".repeat(256 << 10))}`);
    console.log(`a wrong password: ${await refusal(connect({ connectionParams: { token: "open barley" } }))}`);
    const silent = await peer.open(url, ["graphql-transport-ws"], { origin });
    console.log(`who says nothing: ${await silent.closing}`);
    console.log(`another site's page: ${await refusal(connect({ webSocketImpl: peer.page("https://evil.example") }))}`);
    const old = await peer.open(url, ["graphql-ws"], { origin }).catch((error) => error.status);
    console.log(`the old protocol: ${old}`);
});
