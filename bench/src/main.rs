//! The laboratory and its command line.
fn main() {}
