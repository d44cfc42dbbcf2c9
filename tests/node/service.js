// An HTTP server for a service that speaks WebSocket: prints its port, then each handshake that reaches it, and serves
// until its standard input ends.

const { createServer } = require("node:http");

module.exports = () => {
    const server = createServer((_, response) => response.writeHead(404).end());
    server.on("upgrade", ({ url, headers }) => {
        const [path, query] = url.split("?");
        const told = [path, query, headers.origin, headers["x-user-id"], headers.authorization && "authorization"];
        console.log(told.filter((part) => part !== undefined).join(" "));
    });
    server.listen(0, "127.0.0.1", () => console.log(server.address().port));
    process.stdin.resume().on("end", () => process.exit(0));
    return server;
};
