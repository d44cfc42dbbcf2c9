// A Socket.IO service over WebSocket alone, whose middleware judges who comes.

const { Server } = require("socket.io");
const server = require("./service")();

const io = new Server(server, { transports: ["websocket"] });
io.use(({ handshake }, next) => next(handshake.auth.token === "open sesame" ? undefined : new Error("who are you?")));
io.on("connection", (socket) => {
    socket.on("say", (text, done) => {
        io.emit("said", text);
        done("heard");
    });
    socket.on("reverse", (bytes, done) => done(Buffer.from(bytes).reverse()));
    socket.on("give", (size, done) => done(Buffer.alloc(size, "z")));
    socket.on("leave", () => socket.disconnect(true));
});
io.of("/admin").on("connection", (socket) => socket.emit("welcome", socket.nsp.name));
