//! Session descriptions: offers, answers and ICE fragments.
