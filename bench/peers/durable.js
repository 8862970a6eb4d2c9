// Durable messages, as one would write them with Node, Socket.IO and the official driver: take the next sequence
// number, insert the message, tell the room, acknowledge.   node durable.js MONGO_URL
const { MongoClient } = require("mongodb");
const { io, listen } = require("./start");

async function main() {
  const client = await new MongoClient(process.argv[2]).connect();
  const database = client.db("peer");
  const conversations = database.collection("conversations");
  const messages = database.collection("messages");
  await messages.createIndex({ conversation: 1, seq: 1 }, { unique: true });
  await messages.createIndex({ sender: 1, client_id: 1 }, { unique: true });

  io.of("/chat").on("connection", (socket) => {
    socket.join("room");
    socket.on("message", async ({ conversation, client_id, text }, ack) => {
      const { seq } = await conversations.findOneAndUpdate(
        { _id: conversation },
        { $inc: { seq: 1 } },
        { upsert: true, returnDocument: "after" },
      );
      const message = { conversation, seq, sender: socket.id, client_id, text, at: new Date() };
      await messages.insertOne(message, { writeConcern: { w: "majority", j: true } });
      socket.to("room").emit("message", message);
      if (ack) ack({ ok: true, seq });
    });
  });
  listen();
}

main();
