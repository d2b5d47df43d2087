//! The server's story, step by step.

use bytes::Bytes;
use qlab_kernel::limits::{BATCH_BYTES_MAX, COMMAND_BYTES_MAX, SNAPSHOT_CHUNK_BYTES};
use qlab_kernel::{
    Batch, BatchBuilder, Commit, Effects, Event, Index, Input, Lsn, NodeId, NodeSet, Protocol, Refusal,
    Request, Seat, Sequence, SessionId, Ticket, Time,
};
use qlab_unreplicated::{Config, Record, Unreplicated};

const NOW: Time = Time(0);

fn seat() -> Seat {
    Seat { me: NodeId(0), members: NodeSet::first(1), seed: 1 }
}

fn server(config: &Config) -> (Unreplicated, Effects<Unreplicated>) {
    recovered(config, Lsn::ZERO, vec![])
}

fn recovered(
    config: &Config,
    last: Lsn,
    records: Vec<(Lsn, Record)>,
) -> (Unreplicated, Effects<Unreplicated>) {
    let mut effects = Effects::new(last);
    let server = Unreplicated::recover(seat(), config, NOW, records.into_iter(), &mut effects);
    (server, effects)
}

fn write(ticket: u64, command: &[u8]) -> Input<qlab_unreplicated::Never> {
    Input::Request {
        ticket: Ticket(ticket),
        request: Request::Write(batch(ticket, command)),
        proof: Bytes::new(),
    }
}

fn batch(session: u64, command: &[u8]) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.begin(SessionId(session), Sequence(1), Sequence(1));
    builder.push_bytes(command);
    builder.finish()
}

/// What is asked of the state machine, in short.
fn commits(effects: &mut Effects<Unreplicated>) -> Vec<String> {
    let brief = |commit| match commit {
        Commit::Apply { index, batch } => format!("apply {index}: {} commands", batch.commands()),
        Commit::Query { ticket, .. } => format!("query {ticket}"),
        Commit::Capture => "capture".to_owned(),
        Commit::Restore { index, image } => format!("restore {index}: {} bytes", image.len()),
    };
    effects.take_commits().map(brief).collect()
}

#[test]
fn requests_of_a_burst_share_an_entry_that_is_executed_when_durable() {
    let (mut server, mut effects) = server(&Config::default());
    for ticket in 1..=3 {
        server.step(NOW, write(ticket, b"x"), &mut effects);
    }
    assert_eq!(effects.records().len(), 0);
    server.flush(NOW, &mut effects);
    server.flush(NOW, &mut effects);
    let records: Vec<_> = effects.records().map(|(lsn, record)| (lsn, record.clone())).collect();
    let [(Lsn(1), Record::Append { index: Index(1), batch })] = &records[..] else { panic!("{records:?}") };
    assert_eq!(batch.bursts().map(|burst| burst.session.0).collect::<Vec<_>>(), [1, 2, 3]);
    effects.clear();

    server.step(NOW, write(4, b"x"), &mut effects);
    server.flush(NOW, &mut effects);
    assert!(commits(&mut effects).is_empty());
    server.step(NOW, Input::Durable(Lsn(1)), &mut effects);
    server.step(
        NOW,
        Input::Request { ticket: Ticket(5), request: Request::Read(batch.clone()), proof: Bytes::new() },
        &mut effects,
    );
    server.step(NOW, Input::Durable(Lsn(2)), &mut effects);
    assert_eq!(commits(&mut effects), ["apply 1: 3 commands", "query 5", "apply 2: 1 commands"]);
    assert_eq!((server.leader(), server.deadline()), (Some(NodeId(0)), None));
    server.check();
}

#[test]
fn a_single_request_is_shared_and_not_copied() {
    let (mut server, mut effects) = server(&Config::default());
    let batch = batch(1, b"x");
    let request = Request::Write(batch.clone());
    server.step(NOW, Input::Request { ticket: Ticket(1), request, proof: Bytes::new() }, &mut effects);
    server.flush(NOW, &mut effects);
    let Some((_, Record::Append { batch: persisted, .. })) = effects.records().next() else { panic!() };
    assert_eq!(persisted.bytes().as_ptr(), batch.bytes().as_ptr());
}

#[test]
fn entries_are_filled_up_to_their_limit() {
    let (mut server, mut effects) = server(&Config::default());
    let third = vec![0; BATCH_BYTES_MAX / 3];
    let largest = vec![0; COMMAND_BYTES_MAX];
    for (ticket, command) in [&third, &third, &third, &largest].into_iter().enumerate() {
        server.step(NOW, write(ticket as u64, command), &mut effects);
    }
    server.flush(NOW, &mut effects);
    server.step(NOW, Input::Durable(Lsn(9)), &mut effects);
    assert_eq!(commits(&mut effects), ["apply 1: 2 commands", "apply 2: 2 commands"]);
}

#[test]
fn past_the_window_a_server_is_busy_until_something_is_durable() {
    let config = Config { window_entries_max: 2, ..Config::default() };
    let (mut server, mut effects) = server(&config);
    server.step(NOW, write(1, b"x"), &mut effects);
    server.flush(NOW, &mut effects);
    server.step(NOW, write(2, b"x"), &mut effects);
    server.step(NOW, write(3, b"x"), &mut effects);
    let refused: Vec<_> = effects.take_refusals().map(|refused| (refused.ticket, refused.refusal)).collect();
    assert_eq!(refused, [(Ticket(3), Refusal::Busy)]);
    server.step(NOW, Input::Durable(Lsn(1)), &mut effects);
    server.step(NOW, write(3, b"x"), &mut effects);
    assert_eq!(effects.take_refusals().count(), 0);
    server.check();

    let config = Config { window_bytes_max: BATCH_BYTES_MAX, ..Config::default() };
    let (mut server, mut effects) = self::server(&config);
    for ticket in 1..=2 {
        server.step(NOW, write(ticket, &[0; COMMAND_BYTES_MAX]), &mut effects);
    }
    assert_eq!(effects.take_refusals().map(|refused| refused.ticket).collect::<Vec<_>>(), [Ticket(2)]);
    server.check();
}

/// A server that was asked for a snapshot of entry 1 while entry 2 was on its way to the disk.
fn compacting(image: &Bytes) -> (Unreplicated, Effects<Unreplicated>, Vec<(Lsn, Record)>) {
    let (mut server, mut effects) = server(&Config { snapshot_log_bytes: 1, ..Config::default() });
    for ticket in 1..=2 {
        server.step(NOW, write(ticket, b"x"), &mut effects);
        server.flush(NOW, &mut effects);
    }
    server.step(NOW, Input::Durable(Lsn(1)), &mut effects);
    assert_eq!(commits(&mut effects), ["apply 1: 1 commands", "capture"]);
    server.step(NOW, Input::Captured { index: Index(1), image: image.clone() }, &mut effects);
    let records = effects.records().map(|(lsn, record)| (lsn, record.clone())).collect();
    (server, effects, records)
}

#[test]
fn a_snapshot_releases_the_records_it_replaces_once_it_is_durable() {
    let (mut server, mut effects, records) = compacting(&Bytes::from(vec![7; SNAPSHOT_CHUNK_BYTES + 1]));
    assert_eq!(records.len(), 4);
    server.step(NOW, Input::Durable(Lsn(3)), &mut effects);
    assert_eq!(effects.needed_from(), Lsn::ZERO);
    assert_eq!(commits(&mut effects), ["apply 2: 1 commands"]);
    server.step(NOW, Input::Durable(Lsn(4)), &mut effects);
    assert_eq!(effects.needed_from(), Lsn(2));
    assert_eq!(effects.take_events().collect::<Vec<_>>(), [Event::Compacted(Index(1))]);
    // Entry 2 was executed meanwhile: it is enough for the next snapshot, which needs nothing that is there now.
    assert_eq!(commits(&mut effects), ["capture"]);
    server.step(NOW, Input::Captured { index: Index(2), image: Bytes::new() }, &mut effects);
    server.step(NOW, Input::Durable(Lsn(5)), &mut effects);
    assert_eq!(effects.needed_from(), Lsn(5));
    server.check();
}

#[test]
fn recovery_takes_the_last_whole_snapshot_and_every_entry_after_it() {
    let image = Bytes::from(vec![7; SNAPSHOT_CHUNK_BYTES + 1]);
    let (.., records) = compacting(&image);
    let recover = |from: usize, to: usize| {
        let (_, mut effects) = recovered(&Config::default(), Lsn(to as u64), records[from..to].to_vec());
        commits(&mut effects)
    };
    assert_eq!(recover(0, 0), [""; 0]);
    assert_eq!(recover(0, 1), ["apply 1: 1 commands"]);
    let entries = ["apply 1: 1 commands", "apply 2: 1 commands"];
    assert_eq!(recover(0, 2), entries);
    assert_eq!(recover(0, 3), entries, "a torn snapshot is passed over");
    let whole = [format!("restore 1: {} bytes", image.len()), entries[1].to_owned()];
    assert_eq!(recover(0, 4), whole);
    assert_eq!(recover(1, 4), whole, "entry 1 may have been released");
}

#[test]
#[should_panic(expected = "the journal lost entries after 0")]
fn a_journal_without_its_beginning_is_not_served_from() {
    let (.., records) = compacting(&Bytes::from(vec![7; SNAPSHOT_CHUNK_BYTES + 1]));
    recovered(&Config::default(), Lsn(3), records[1..3].to_vec());
}
