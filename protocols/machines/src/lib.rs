//! Deterministic applications that run on a replicated log.
