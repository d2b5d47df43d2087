//! Stories from the papers, told to one replica of three, message by message.

use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::{
    Batch, BatchBuilder, Commit, Effects, Index, Input, Lsn, NodeId, NodeSet, Outgoing, Protocol, Seat,
    Sequence, SessionId, Term, Time,
};
use qlab_paxos::multi::{Config, Message, Record, Run, Span};
use qlab_paxos::{Ballot, MultiPaxos};

const ME: NodeId = NodeId(0);
const FIRST: NodeId = NodeId(1);
const SECOND: NodeId = NodeId(2);

/// One replica, whose disk is instant.
struct Alone {
    core: MultiPaxos,
    effects: Effects<MultiPaxos>,
    now: Time,
    journal: Vec<(Lsn, Record)>,
    said: Vec<Outgoing<Message>>,
    applied: Vec<(Index, Batch)>,
}

impl Alone {
    fn new() -> Self {
        Self::from_journal(Vec::new())
    }

    fn from_journal(journal: Vec<(Lsn, Record)>) -> Self {
        let mut effects = Effects::new(journal.last().map_or(Lsn::ZERO, |(lsn, _)| *lsn));
        let seat = Seat { me: ME, members: NodeSet::first(3), seed: 7 };
        let now = Time(1 << 40);
        let records = journal.clone().into_iter();
        let core = MultiPaxos::recover(seat, &Config::default(), now, records, &mut effects);
        Self { core, effects, now, journal, said: Vec::new(), applied: Vec::new() }
    }

    fn give(&mut self, input: Input<Message>) {
        self.core.step(self.now, input, &mut self.effects);
        self.core.flush(self.now, &mut self.effects);
        self.core.check();
        self.journal.extend(self.effects.records().map(|(lsn, record)| (lsn, record.clone())));
        let last = self.effects.last();
        self.said.extend(self.effects.take_sends());
        for commit in self.effects.take_commits() {
            if let Commit::Apply { index, batch } = commit {
                self.applied.push((index, batch));
            }
        }
        let wrote = self.effects.records().len() > 0;
        self.effects.clear();
        if wrote {
            self.give(Input::Durable(last));
        }
    }

    fn hear(&mut self, from: NodeId, message: Message) {
        self.give(Input::Message { from, message });
    }

    /// What it has said to `to` since the last time.
    fn said_to(&mut self, to: NodeId) -> Vec<Message> {
        let said = std::mem::take(&mut self.said);
        said.into_iter().filter(|outgoing| outgoing.to == to).map(|outgoing| outgoing.message).collect()
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.give(Input::Timeout);
    }

    /// Waits until it asks to be elected, grants that, and returns the ballot it prepares.
    fn stand(&mut self) -> Ballot {
        self.wait(Config::default().election_timeout_max);
        let Some(Message::Canvass { ballot, .. }) = self.said_to(FIRST).pop() else { panic!("no canvass") };
        let chosen = Index::ZERO;
        self.hear(FIRST, Message::CanvassReply { ballot, granted: true, promised: Ballot::ZERO, chosen });
        let asks =
            |message: &Message| matches!(message, Message::Prepare { ballot: asked, .. } if *asked == ballot);
        assert!(self.said_to(FIRST).iter().any(asks), "elected to try, it prepares");
        ballot
    }

    fn promised(&mut self, ballot: Ballot, runs: Vec<Run>) {
        let (first, chosen) = (Index(1), Index::ZERO);
        self.hear(FIRST, Message::Promise { ballot, first, until: None, chosen, runs });
    }
}

fn value(text: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.begin(SessionId(1), Sequence(1), Sequence(1));
    builder.push_bytes(text.as_bytes());
    builder.finish()
}

fn ballot(round: u64, node: NodeId) -> Ballot {
    Ballot { round: Term(round), node, incarnation: 0 }
}

fn accept(ballot: Ballot, index: u64, commit: u64, text: &str) -> Message {
    Message::Accept { ballot, index: Index(index), commit: Index(commit), batch: value(text) }
}

fn proposed(said: &[Message]) -> Vec<(u64, Bytes)> {
    let accept = |message: &Message| match message {
        Message::Accept { index, batch, .. } => Some((index.0, batch.bytes().clone())),
        _ => None,
    };
    said.iter().filter_map(accept).collect()
}

#[test]
fn a_new_leader_proposes_the_value_of_the_highest_ballot_and_fills_gaps_with_no_ops() {
    // Paxos Made Simple §2.2 (P2c) and §3.
    let mut me = Alone::new();
    me.hear(SECOND, accept(ballot(1, SECOND), 1, 0, "old"));
    let mine = me.stand();
    let later = ballot(2, FIRST);
    assert!(mine > ballot(1, SECOND));
    let run = |index: u64, ballot| Run { first: Index(index), last: Index(index), ballot };
    me.promised(mine, vec![run(1, later), run(3, later)]);
    let said = me.said_to(FIRST);
    let fetches = |index: u64| Message::Fetch { ballot: mine, index: Index(index), accepted_in: later };
    assert!(said.contains(&fetches(1)) && said.contains(&fetches(3)), "{said:?}");
    assert_eq!(proposed(&said), [], "nothing is proposed before the values are known");
    for (index, text) in [(1, "new"), (3, "newer")] {
        me.hear(
            FIRST,
            Message::Value { ballot: mine, index: Index(index), accepted_in: later, batch: value(text) },
        );
    }
    assert!(me.core.is_leader());
    let expected =
        [(1, value("new").bytes().clone()), (2, Bytes::new()), (3, value("newer").bytes().clone())];
    assert_eq!(proposed(&me.said_to(FIRST)), expected);
    // A quorum of two: its own disk and one other, in any order of slots; executed in order.
    let accepted =
        |index| Message::Accepted { ballot: mine, spans: vec![Span { first: index, last: index }] };
    me.hear(FIRST, accepted(Index(3)));
    me.hear(FIRST, accepted(Index(2)));
    assert_eq!(me.applied, []);
    me.hear(SECOND, accepted(Index(1)));
    assert_eq!(
        me.applied,
        [(Index(1), value("new")), (Index(2), Batch::default()), (Index(3), value("newer"))]
    );
}

#[test]
fn a_value_accepted_in_the_highest_ballot_here_needs_no_fetch() {
    let mut me = Alone::new();
    me.hear(SECOND, accept(ballot(1, SECOND), 1, 0, "known"));
    let mine = me.stand();
    me.promised(mine, vec![Run { first: Index(1), last: Index(1), ballot: ballot(1, SECOND) }]);
    assert!(me.core.is_leader(), "one value in a ballot: it has it already");
    assert_eq!(proposed(&me.said_to(SECOND)), [(1, value("known").bytes().clone())]);
}

#[test]
fn accepts_in_another_ballot_are_not_taken_as_chosen_but_asked_for() {
    let mut me = Alone::new();
    me.hear(FIRST, accept(ballot(1, FIRST), 1, 0, "lost"));
    let leader = ballot(2, SECOND);
    me.hear(SECOND, accept(leader, 2, 2, "second"));
    assert_eq!(me.applied, [], "slot 1 was accepted in a ballot that may have lost");
    let asks = Message::Learn { first: Index(1), image: Index::ZERO, have_bytes: 0 };
    for round in 1..=3 {
        me.hear(SECOND, Message::Heartbeat { ballot: leader, round, commit: Index(2), oldest: Index::ZERO });
        me.now = me.now + Config::default().heartbeat_interval * 2;
    }
    assert!(me.said_to(SECOND).contains(&asks));
    me.hear(SECOND, Message::Chosen { index: Index(1), batch: value("won"), last: true });
    assert_eq!(me.applied, [(Index(1), value("won")), (Index(2), value("second"))]);
}

#[test]
fn whoever_hears_a_leader_promises_nobody_else_unless_that_leader_asks_for_it() {
    let mut me = Alone::new();
    let leader = ballot(3, FIRST);
    me.hear(FIRST, accept(leader, 1, 0, "x"));
    me.said.clear();
    let rival = ballot(4, SECOND);
    let prepare = |handover| Message::Prepare { ballot: rival, first: Index(1), handover };
    me.hear(SECOND, prepare(Ballot::ZERO));
    me.hear(SECOND, prepare(ballot(2, FIRST)));
    assert_eq!((me.core.promised(), me.said_to(SECOND)), (leader, vec![]), "a lease may rest on it");
    me.hear(SECOND, prepare(leader));
    assert_eq!(me.core.promised(), rival);
    let tells = Run { first: Index(1), last: Index(1), ballot: leader };
    let promise = Message::Promise {
        ballot: rival,
        first: Index(1),
        until: None,
        chosen: Index::ZERO,
        runs: vec![tells],
    };
    assert_eq!(me.said_to(SECOND), [promise]);
}

#[test]
fn promises_and_accepts_outlive_a_crash_and_no_ballot_is_used_twice() {
    let mut me = Alone::new();
    me.hear(FIRST, accept(ballot(1, FIRST), 1, 0, "kept"));
    let mine = me.stand();
    let mut again = Alone::from_journal(me.journal);
    assert_eq!(again.core.promised(), mine);
    again.hear(FIRST, accept(ballot(1, FIRST), 2, 0, "too late"));
    assert_eq!(again.said_to(FIRST), [Message::Stale { promised: mine }]);
    assert!(again.stand() > mine);
    again.promised(again.core.promised(), vec![]);
    assert_eq!(proposed(&again.said_to(FIRST)), [(1, value("kept").bytes().clone())]);
}

#[test]
fn messages_that_nobody_can_have_sent_are_counted_and_ignored() {
    let mut me = Alone::new();
    let far = Ballot { round: Term(u64::MAX), node: FIRST, incarnation: 0 };
    me.hear(FIRST, Message::Prepare { ballot: far, first: Index(1), handover: Ballot::ZERO });
    me.hear(FIRST, accept(ballot(1, SECOND), 1, 0, "in somebody else's ballot"));
    me.hear(FIRST, accept(ballot(1, FIRST), u64::MAX, 0, "beyond"));
    assert_eq!((me.core.promised(), me.journal.len()), (Ballot::ZERO, 0));
}
