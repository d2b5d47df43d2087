//! The host: one replica process around a pure core.
