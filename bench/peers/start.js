// What the peers have in common: a Socket.IO server on a free port, whose number is printed once it listens.
const { createServer } = require("http");
const { Server } = require("socket.io");

const http = createServer();
const io = new Server(http, { transports: ["websocket"] });

function listen() {
  http.listen(0, "127.0.0.1", () => console.log(`listening on ${http.address().port}`));
}

module.exports = { io, listen };
