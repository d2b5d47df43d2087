//! Messages arrive, are lost and are kept back; links are cut.

use qlab_kernel::{Input, NodeId};

use super::{Replica, Stage, Trouble, id};
use crate::scenario::actor::Actor;
use crate::scenario::command::{Links, Motion};
use crate::scenario::flight::{Letter, MESSAGES_MAX};

/// Rounds of deliveries and syncs after which what has not come to rest never will.
const SETTLE_ROUNDS_MAX: usize = 1000;

impl<S: Actor> Stage<S> {
    /// Does something with the messages on these links, of this kind if it is given.
    pub(crate) fn move_messages(
        &mut self,
        motion: Motion,
        links: &Links,
        kind: Option<&str>,
    ) -> Result<(), Trouble> {
        if let Some(kind) = kind.filter(|kind| !S::KINDS.contains(kind)) {
            return Err(Trouble::Impossible(format!(
                "no message is a {kind:?}; there are {}",
                S::KINDS.join(", ")
            )));
        }
        let fits = |letter: &Letter<S::Message>| {
            links.contain(letter.from, letter.to) && kind.is_none_or(|kind| S::kind(&letter.message) == kind)
        };
        let replicas = &self.replicas;
        let count = match motion {
            Motion::Deliver => {
                let letters = self.flight.take(|letter| fits(letter) && may_arrive(replicas, letter));
                let count = letters.len();
                self.deliver(letters, true)?;
                count
            }
            Motion::Drop => self.flight.take(fits).len(),
            Motion::Duplicate => self.flight.duplicate(fits),
            Motion::Hold => self.flight.hold(true, fits),
            Motion::Release => self.flight.hold(false, fits),
        };
        if count == 0 {
            return Err(Trouble::Impossible("there is no such message in flight".to_owned()));
        }
        self.check_flight()
    }

    /// Messages arrive: what comes to one replica is one burst.
    fn deliver(&mut self, letters: Vec<Letter<S::Message>>, is_told: bool) -> Result<(), Trouble> {
        let mut inboxes: Vec<Vec<Input<S::Message>>> = self.replicas.iter().map(|_| Vec::new()).collect();
        for Letter { from, to, message, .. } in letters {
            let is_there = self.replicas[usize::from(to.0)].running.is_some();
            if is_told {
                let fate = if is_there { "" } else { " (nobody is there)" };
                self.print(format!("{from} -> {to} {}{fate}", S::describe(&message)));
            }
            if is_there {
                inboxes[usize::from(to.0)].push(Input::Message { from, message });
            }
        }
        for (process, inbox) in inboxes.into_iter().enumerate().filter(|(_, inbox)| !inbox.is_empty()) {
            self.burst(id(process), inbox)?;
        }
        Ok(())
    }

    /// Groups that hear only themselves. Whoever is named nowhere is a group, together.
    pub(crate) fn partition(&mut self, groups: &[Vec<NodeId>]) -> Result<(), Trouble> {
        for node in groups.iter().flatten() {
            self.place(*node)?;
        }
        let group = |node: NodeId| groups.iter().position(|group| group.contains(&node));
        self.flight.cut(self.nodes(), |from, to| group(from) != group(to));
        Ok(())
    }

    /// These links lose everything.
    pub(crate) fn cut(&mut self, links: &Links) {
        self.flight.cut(self.nodes(), |from, to| links.contain(from, to));
    }

    /// They do not any more.
    pub(crate) fn mend(&mut self, links: &Links) {
        self.flight.mend(links);
    }

    /// No link does.
    pub(crate) fn heal(&mut self) {
        self.flight.heal();
    }

    /// Delivers and syncs until there is nothing left to do.
    pub(crate) fn settle(&mut self) -> Result<(), Trouble> {
        for _ in 0..SETTLE_ROUNDS_MAX {
            let replicas = &self.replicas;
            let letters = self.flight.take(|letter| may_arrive(replicas, letter));
            let mut is_calm = letters.is_empty();
            self.deliver(letters, false)?;
            for process in 0..self.replicas.len() {
                is_calm &= !self.finish_what_waits(process)?;
            }
            self.check_flight()?;
            if is_calm {
                return Ok(());
            }
        }
        Err(Trouble::Impossible(format!("it does not come to rest in {SETTLE_ROUNDS_MAX} rounds")))
    }

    /// Lets a replica finish what waits for its disk or for its next burst; whether anything did.
    fn finish_what_waits(&mut self, process: usize) -> Result<bool, Trouble> {
        let replica = &self.replicas[process];
        let Some(running) = replica.running.as_ref().filter(|_| !replica.is_paused) else { return Ok(false) };
        if running.wants_commit() {
            self.sync(id(process))?;
        } else if running.is_restless() {
            self.burst(id(process), Vec::new())?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn check_flight(&self) -> Result<(), Trouble> {
        if self.flight.is_too_much() {
            return Err(Trouble::Impossible(format!("more than {MESSAGES_MAX} messages are in flight")));
        }
        Ok(())
    }

    fn nodes(&self) -> u16 {
        u16::try_from(self.replicas.len()).expect("a story has few replicas")
    }
}

/// Whether nobody keeps a message back, and its receiver is not standing still.
fn may_arrive<S: Actor>(replicas: &[Replica<S>], letter: &Letter<S::Message>) -> bool {
    !letter.is_held && !replicas[usize::from(letter.to.0)].is_paused
}
