// A service by npm's ws: prints its port, then serves until its standard input ends.
//
// It greets with what reached it, echoes every message, and does what a text message that begins with "please " asks
// for. Each closure that it sees is a line: the code and the reason of the other side's Close frame.

const { WebSocketServer } = require("ws");

function obey(socket, [what, value, ...rest]) {
    switch (what) {
        case "close":
            socket.close(Number(value), rest.join(" "));
            break;
        case "ping":
            socket.once("pong", () => socket.send("ponged"));
            socket.ping("are you there");
            break;
        case "fragment":
            socket.send("in ", { fin: false });
            socket.send("three ", { fin: false });
            socket.send("fragments");
            break;
        case "send":
            socket.send(Buffer.alloc(Number(value), "z"));
            break;
    }
}

const handleProtocols = (offered) => (offered.has("chat.v2") ? "chat.v2" : false);
const perMessageDeflate = { threshold: 0 };
const limits = { maxPayload: 1 << 25 };
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols, perMessageDeflate, ...limits });
server.on("listening", () => console.log(server.address().port));
server.on("connection", (socket, { url, headers }) => {
    const told = ["x-user-id", "cookie", "authorization"].map((name) => headers[name] ?? "-");
    socket.send([url, ...told].join(" "));
    socket.on("message", (bytes, binary) => {
        const text = binary ? "" : bytes.toString();
        text.startsWith("please ") ? obey(socket, text.split(" ").slice(1)) : socket.send(bytes, { binary });
    });
    socket.on("close", (code, reason) => console.log(code === 1006 ? "lost" : `${code} ${reason}`));
});
process.stdin.resume().on("end", () => process.exit(0));
