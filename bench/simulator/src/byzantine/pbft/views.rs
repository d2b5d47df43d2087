//! Lies about views: votes that conceal, invent and contradict each other, and beginnings that do not follow from their votes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::network::some_of;
use qlab_pbft::new_view::plan;

/// How often a replica that wants nothing but the next view says so.
const RESTLESS_INTERVAL: Duration = Duration::from_millis(30);
/// Views for which votes are remembered.
const VIEWS_MAX: usize = 16;

/// Says nothing but that it wants the next view, or one far away.
#[derive(Debug)]
pub struct Restless {
    forger: Forger,
    view: Term,
    next_at: Time,
}

impl Restless {
    /// One that signs with these keys.
    #[must_use]
    pub const fn new(forger: Forger) -> Self {
        Self { forger, view: Term(0), next_at: Time(0) }
    }
}

impl Byzantine<Pbft> for Restless {
    fn hear(&mut self, input: Input<Message>) -> Option<Input<Message>> {
        if let Input::Message { message: Message::Status { view, .. }, .. } = &input {
            self.view = self.view.max(Term(view.0.min(1 << 20)));
        }
        Some(input)
    }

    fn rewrite(&mut self, now: Time, effects: &mut Effects<Pbft>, chance: &mut Pcg32) {
        edit(effects, |_, _| None);
        if now < self.next_at {
            return;
        }
        self.next_at = now + RESTLESS_INTERVAL;
        let view = Term(self.view.0 + [1, 1, 2, 1000][chance.random_range(0..4)]);
        let vote = Arc::new(self.forger.vote(view, StableCheckpoint::default(), Vec::new()));
        for to in (0..self.forger.nodes as u16).map(NodeId).filter(|to| *to != self.forger.me) {
            effects.send_early(to, Message::ViewChange(Arc::clone(&vote)));
        }
    }
}

/// Votes for views with something else than it knows: nothing prepared, an old checkpoint, certificates that nobody signed, the
/// votes of others changed, and not the same for everybody.
#[derive(Debug)]
pub struct FalseVotes {
    forger: Forger,
    /// What others voted.
    heard: Vec<Arc<ViewChange>>,
}

impl FalseVotes {
    /// One that signs with these keys.
    #[must_use]
    pub const fn new(forger: Forger) -> Self {
        Self { forger, heard: Vec::new() }
    }

    fn falsify(&self, vote: &ViewChange, chance: &mut Pcg32) -> ViewChange {
        let ViewChange { view, stable, prepared, .. } = vote.clone();
        match chance.random_range(0..8) {
            0 | 1 => self.forger.vote(view, stable, Vec::new()),
            2 => self.forger.vote(view, StableCheckpoint::default(), prepared),
            3 => self.forger.vote(view, StableCheckpoint::default(), Vec::new()),
            4 => self.forger.vote(view, stable, self.conflicting(view, prepared, chance)),
            5 => self.forger.vote(Term(view.0 + chance.random_range(1..3)), stable, prepared),
            6 => self.of_another(view, chance).unwrap_or_else(|| vote.clone()),
            _ => vote.clone(),
        }
    }

    /// Certificates for something else, signed by this replica for all.
    fn conflicting(&self, view: Term, prepared: Vec<Prepared>, chance: &mut Pcg32) -> Vec<Prepared> {
        let change = |mut prepared: Prepared| {
            prepared.digest = any_digest(chance);
            prepared.view = Term(view.0.saturating_sub(1));
            let statement = prepare_statement(prepared.view, prepared.seq, &prepared.digest);
            prepared.pre_prepare =
                self.forger.sign(&pre_prepare_statement(prepared.view, prepared.seq, &prepared.digest));
            for (node, signature) in &mut prepared.prepares {
                (*node, *signature) = (
                    if chance.random_bool(0.2) { self.forger.me } else { *node },
                    self.forger.sign(&statement),
                );
            }
            prepared
        };
        prepared.into_iter().map(change).collect()
    }

    /// Somebody else's vote, for this view or without what it knows, under its name.
    fn of_another(&self, view: Term, chance: &mut Pcg32) -> Option<ViewChange> {
        if self.heard.is_empty() {
            return None;
        }
        let mut vote = ViewChange::clone(&self.heard[chance.random_range(0..self.heard.len())]);
        if chance.random() {
            (vote.view, vote.prepared) = (view, Vec::new());
            vote.signature = self.forger.sign(&vote.digest());
        }
        Some(vote)
    }
}

impl Byzantine<Pbft> for FalseVotes {
    fn hear(&mut self, input: Input<Message>) -> Option<Input<Message>> {
        if let Input::Message { message: Message::ViewChange(vote), .. } = &input
            && self.heard.len() < 4 * VIEWS_MAX
        {
            self.heard.push(Arc::clone(vote));
        }
        Some(input)
    }

    fn rewrite(&mut self, _: Time, effects: &mut Effects<Pbft>, chance: &mut Pcg32) {
        edit(effects, |_, message| {
            Some(match message {
                Message::ViewChange(vote) if vote.voter == self.forger.me => {
                    Message::ViewChange(Arc::new(self.falsify(&vote, chance)))
                }
                other => other,
            })
        });
        // And a lie that nobody asked for.
        if chance.random_ratio(1, 50)
            && let Some(vote) = self.of_another(Term(0), chance)
        {
            let to = NodeId(chance.random_range(0..self.forger.nodes as u16));
            if to != self.forger.me {
                effects.send_early(to, Message::ViewChange(Arc::new(vote)));
            }
        }
    }
}

/// Begins its views with something else than their votes demand, or differently for different replicas.
#[derive(Debug)]
pub struct FalseBeginnings {
    forger: Forger,
    votes: BTreeMap<Term, BTreeMap<NodeId, Arc<ViewChange>>>,
}

impl FalseBeginnings {
    /// One that signs with these keys.
    #[must_use]
    pub const fn new(forger: Forger) -> Self {
        Self { forger, votes: BTreeMap::new() }
    }

    fn remember(&mut self, vote: &Arc<ViewChange>) {
        self.votes.entry(vote.view).or_default().insert(vote.voter, Arc::clone(vote));
        while self.votes.len() > VIEWS_MAX {
            self.votes.pop_first();
        }
    }

    fn falsify(&self, new_view: &NewView, chance: &mut Pcg32) -> NewView {
        let NewView { view, mut votes, .. } = new_view.clone();
        let mut proposals: Vec<_> = new_view.proposals.iter().map(|it| (it.seq, it.digest)).collect();
        match chance.random_range(0..9) {
            0 => drop(proposals.pop()),
            1 => {
                let seq = proposals.last().map_or(Index(1), |(seq, _)| seq.next());
                proposals.push((seq, any_digest(chance)));
            }
            2 => {
                let digest = *Requests::null().digest();
                proposals.iter_mut().for_each(|(_, proposed)| *proposed = digest);
            }
            3 => drop(votes.pop()),
            4 => {
                let first = votes[0];
                votes.iter_mut().for_each(|vote| *vote = first);
            }
            5 => {
                let place = chance.random_range(0..votes.len());
                votes[place].1 = any_digest(chance);
            }
            6 | 7 => return self.of_others(view, chance).unwrap_or_else(|| new_view.clone()),
            _ => return new_view.clone(),
        }
        self.forger.beginning(view, votes, proposals)
    }

    /// As good a beginning as the first, from other votes.
    fn of_others(&self, view: Term, chance: &mut Pcg32) -> Option<NewView> {
        let known: Vec<&Arc<ViewChange>> = self.votes.get(&view)?.values().collect();
        let needed = self.forger.certificate();
        if known.len() < needed {
            return None;
        }
        let mut chosen = some_of(chance, known.len(), needed);
        chosen.sort_unstable();
        let votes: Vec<&Arc<ViewChange>> = chosen.into_iter().map(|place| known[place]).collect();
        let plan = plan(votes.iter().map(|vote| &***vote));
        let named = votes.iter().map(|vote| (vote.voter, vote.digest())).collect();
        Some(self.forger.beginning(view, named, plan.proposals))
    }
}

impl Byzantine<Pbft> for FalseBeginnings {
    fn hear(&mut self, input: Input<Message>) -> Option<Input<Message>> {
        if let Input::Message { message: Message::ViewChange(vote), .. } = &input {
            self.remember(vote);
        }
        Some(input)
    }

    fn rewrite(&mut self, _: Time, effects: &mut Effects<Pbft>, chance: &mut Pcg32) {
        edit(effects, |_, message| {
            Some(match message {
                Message::NewView(new_view) if self.forger.primary(new_view.view) == self.forger.me => {
                    Message::NewView(Arc::new(self.falsify(&new_view, chance)))
                }
                Message::ViewChange(vote) => {
                    self.remember(&vote);
                    Message::ViewChange(vote)
                }
                other => other,
            })
        });
    }
}
