//! The packet path: one thread per core, from socket to socket.
