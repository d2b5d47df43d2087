//! Load: arrivals, keys, mixes, sessions, targets, recorder.
