// Idle connections: the namespaces that it is given, and three of two thousand rooms in each.
const { io, listen } = require("./start");

const NAMESPACES = process.argv[2].split(",");
const ROOMS = 2000;

for (const name of NAMESPACES) {
  io.of(name).on("connection", (socket) => {
    for (let i = 0; i < 3; i++) socket.join(`room-${Math.floor(Math.random() * ROOMS)}`);
    socket.on("anything", () => {});
  });
}
listen();
