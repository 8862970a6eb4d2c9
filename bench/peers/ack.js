// Acknowledged events: a bare handler that does nothing but answer.
const { io, listen } = require("./start");

io.of("/chat").on("connection", (socket) => {
  socket.on("message", (message, ack) => {
    if (ack) ack({ ok: true, seq: 1 });
  });
});
listen();
