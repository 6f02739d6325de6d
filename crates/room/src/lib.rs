//! Rooms, participants, sessions and the negotiation from offer to answer, sans-IO.
