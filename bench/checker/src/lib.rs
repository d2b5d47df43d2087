//! Judges histories: is what the clients saw linearizable?
