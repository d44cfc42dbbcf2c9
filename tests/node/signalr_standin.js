// No ASP.NET Core: a stand-in that speaks as much of SignalR's hub protocol as its client needs to be heard.

const { WebSocketServer } = require("ws");
const server = require("./service")();

const END = "\x1e";

new WebSocketServer({ server, path: "/chathub" }).on("connection", (socket) => {
    const send = (message) => socket.send(JSON.stringify(message) + END);
    const answer = ({ protocol, type, target, invocationId, arguments: given }) => {
        if (protocol) send({});
        if (type !== 1) return;
        send({ type: 1, target: "said", arguments: given });
        send({ type: 3, invocationId, result: `${target} heard` });
    };
    socket.on("message", (text) => text.toString().split(END).filter(Boolean).map(JSON.parse).forEach(answer));
});
