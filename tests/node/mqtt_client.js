// MQTT.js in front of the policy that `wsgate init mqtt` writes.
//
// Arguments: URL, Origin, file with the password.

const assert = require("node:assert/strict");
const { randomBytes } = require("node:crypto");
const { once } = require("node:events");
const mqtt = require("mqtt");
const peer = require("./peer");

const [url, origin, passwordFile] = process.argv.slice(2);
const password = peer.token(passwordFile);

function connect(changed = {}) {
    const wsOptions = { origin };
    return mqtt.connect(url, { username: "alice", password, wsOptions, reconnectPeriod: 0, ...changed });
}

async function exchange(client, name) {
    await once(client, "connect");
    await client.subscribeAsync(`${name}/#`, { qos: 2 });
    for (const qos of [0, 1, 2]) {
        const payload = randomBytes(4_000);
        const came = once(client, "message");
        await client.publishAsync(`${name}/${qos}`, payload, { qos });
        const [topic, back] = await came;
        assert.equal(topic, `${name}/${qos}`);
        assert(back.equals(payload), "another payload");
    }
    await client.publishAsync(`large ${name}`, randomBytes(200_000), { qos: 1 });
    await client.publishAsync(`${name}/kept`, "since then", { qos: 1, retain: true });
    await client.unsubscribeAsync(`${name}/#`);
    const kept = once(client, "message");
    await client.subscribeAsync(`${name}/kept`);
    assert.equal((await kept)[1].toString(), "since then");
}

/** The broker's own words, or the status of the gateway's answer. */
async function refusal(changed) {
    const client = connect(changed);
    const [error] = await Promise.race([once(client, "error"), once(client.stream, "error")]);
    return error.message.match(/server response: (\d+)/)?.[1] ?? error.message;
}

peer.run(async () => {
    const silent = await peer.open(url, ["mqtt"], { origin });
    for (const [name, changed] of [
        ["MQTT 5 of a page", { protocolVersion: 5 }],
        ["MQTT 3.1.1 of a page", { protocolVersion: 4 }],
        ["MQTT 3.1 of a device", { protocolVersion: 3, protocolId: "MQIsdp", wsOptions: {} }],
    ]) {
        const client = connect(changed);
        await exchange(client, name);
        await client.endAsync();
        console.log(`${name}: every QoS, retained, 200 kB up`);
    }
    const busy = connect();
    await once(busy, "connect");
    const readings = Array.from({ length: 900 }, (_, reading) => busy.publishAsync("readings", `${reading}`, { qos: 1 }));
    await Promise.all(readings);
    await busy.endAsync();
    console.log("900 readings at once");

    const loud = connect();
    await once(loud, "connect");
    loud.publish("loud", Buffer.alloc(300_000));
    await once(loud, "close");
    console.log("too loud: closed");
    console.log(`who says nothing: ${(await silent.closing).slice(0, 4)}`);

    console.log(`a wrong password: ${await refusal({ password: "open barley" })}`);
    console.log(`another site's page: ${await refusal({ wsOptions: { origin: "https://evil.example" } })}`);
    console.log(`no page, a cookie: ${await refusal({ wsOptions: { headers: { Cookie: "session=abc" } } })}`);
});
