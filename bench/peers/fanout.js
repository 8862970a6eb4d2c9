// Fan-out: whatever a client says is told to the whole room, from memory.
const { io, listen } = require("./start");

const chat = io.of("/chat");
chat.on("connection", (socket) => {
  socket.join("room");
  socket.on("message", (message, ack) => {
    chat.to("room").emit("message", message);
    if (ack) ack({ ok: true });
  });
});
listen();
