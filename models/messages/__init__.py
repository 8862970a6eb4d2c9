"""Messages: the ordered, durable sequence of a conversation."""
