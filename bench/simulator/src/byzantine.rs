//! Replicas that do not do what their protocol says: wrappers around a correct one's effects. No protocol has hooks for them.

use qlab_kernel::{Effects, Outgoing, Protocol};
use rand_pcg::Pcg32;

/// Rewrites what a correct replica wants done, after each flush.
pub trait Byzantine<P: Protocol> {
    /// Adds, drops and changes what it likes.
    fn rewrite(&mut self, effects: &mut Effects<P>, chance: &mut Pcg32);
}

/// Speaks before its disk has answered: what an acknowledgement without a sync is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hasty;

impl<P: Protocol> Byzantine<P> for Hasty {
    fn rewrite(&mut self, effects: &mut Effects<P>, _: &mut Pcg32) {
        let sends: Vec<Outgoing<P::Message>> = effects.take_sends().collect();
        for Outgoing { to, message, .. } in sends {
            effects.send_early(to, message);
        }
    }
}
