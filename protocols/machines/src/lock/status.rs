//! What the lock service answers. Those from 32 on are refusals: but for an acquisition that makes a victim of its owner, nothing
//! changed.

/// Status: the policy is set.
pub const SET: u8 = 0;
/// Status: the owner is open.
pub const OPENED: u8 = 1;
/// Status: the lease begins anew.
pub const RENEWED: u8 = 2;
/// Status: the owner claims nothing and may begin anew, as old as it was.
pub const RESTARTED: u8 = 3;
/// Status: the owner is no more, and nothing of what it claimed.
pub const CLOSED: u8 = 4;
/// Status: the lock is held.
pub const GRANTED: u8 = 5;
/// Status: the claim waits.
pub const QUEUED: u8 = 6;
/// Status: the lock is given back.
pub const RELEASED: u8 = 7;
/// Status: the place in the queue is given up.
pub const WITHDRAWN: u8 = 8;
/// Status: time has passed.
pub const TICKED: u8 = 9;
/// Status: the register is written.
pub const WRITTEN: u8 = 10;
/// Status: here is the register.
pub const FOUND: u8 = 11;
/// Status: the lock cannot be had at once; nothing changed.
pub const TAKEN: u8 = 32;
/// Status: the owner does not hold that, or does not wait for it; nothing changed.
pub const NOT_HELD: u8 = 33;
/// Status: there is no such owner (any more). Whatever it held is gone: open another one.
pub const NO_OWNER: u8 = 34;
/// Status: the owner was a victim, and what it held is gone: restart it.
pub const ABORTED: u8 = 35;
/// Status: the owner claims the lock shared already: give that up first.
pub const OTHER_MODE: u8 = 36;
/// Status: the register knows a later grant; nothing changed.
pub const FENCED: u8 = 37;
/// Status: no grant ever had that token; nothing changed.
pub const FORGED: u8 = 38;
/// Status: another tick followed that one; no time has passed.
pub const LATE: u8 = 39;
/// Status: there are owners, who rely on the policy that is set; nothing changed.
pub const IN_USE: u8 = 40;
/// Status: the register was never written.
pub const NOT_FOUND: u8 = 41;
/// Status: a limit is reached; nothing changed. Close, release or withdraw something first.
pub const FULL: u8 = 42;
/// Status: the value exceeds its limit; nothing changed.
pub const TOO_LARGE: u8 = 43;
