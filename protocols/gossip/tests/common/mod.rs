//! What the tests share.

pub(crate) mod history;
pub(crate) mod laws;
