//! Replicas that do not do what their protocol says: wrappers around a correct one. No protocol has hooks for them.

pub mod clock;
pub mod pbft;

use qlab_kernel::{Effects, Input, Outgoing, Protocol, Time};
use rand_pcg::Pcg32;

/// Changes what a correct replica hears and wants done.
pub trait Byzantine<P: Protocol> {
    /// Takes an input before the replica sees it, and hands on what it likes.
    fn hear(&mut self, input: Input<P::Message>) -> Option<Input<P::Message>> {
        Some(input)
    }

    /// Adds, drops and changes what it likes, after each flush.
    fn rewrite(&mut self, now: Time, effects: &mut Effects<P>, chance: &mut Pcg32);
}

/// Speaks before its disk has answered: what an acknowledgement without a sync is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hasty;

impl<P: Protocol> Byzantine<P> for Hasty {
    fn rewrite(&mut self, _: Time, effects: &mut Effects<P>, _: &mut Pcg32) {
        let sends: Vec<Outgoing<P::Message>> = effects.take_sends().collect();
        for Outgoing { to, message, .. } in sends {
            effects.send_early(to, message);
        }
    }
}
