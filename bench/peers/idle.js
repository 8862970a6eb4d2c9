// Idle connections: Parley's namespaces, and three of two thousand rooms in each.
const { io, listen } = require("./start");

const NAMESPACES = ["/chat", "/typing", "/presence", "/system"];
const ROOMS = 2000;

for (const name of NAMESPACES) {
  io.of(name).on("connection", (socket) => {
    for (let i = 0; i < 3; i++) socket.join(`room-${Math.floor(Math.random() * ROOMS)}`);
    socket.on("anything", () => {});
  });
}
listen();
