//! The language of stories: whatever the text, it is read or refused; what is printed is read back; and no script breaks a law.

use std::time::Duration;

use proptest::prelude::*;
use qlab_kernel::NodeId;
use qlab_simulator::scenario::command::{
    Answered, Command, Crash, Expectation, GivenLog, Links, Motion, Shown,
};
use qlab_simulator::scenario::{StoryError, perform, reader};

fn node(nodes: u16) -> impl Strategy<Value = NodeId> {
    (0..nodes).prop_map(NodeId)
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_-]{0,8}"
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![0..5_000_u64, (0..400_u64).prop_map(|ms| ms * 1000)].prop_map(Duration::from_micros)
}

fn links(nodes: u16) -> impl Strategy<Value = Links> {
    let end = move || prop::option::of(node(nodes));
    (end(), end(), any::<bool>()).prop_map(|(from, to, both_ways)| Links { from, to, both_ways })
}

fn motion() -> impl Strategy<Value = Motion> {
    use Motion::*;
    prop::sample::select(vec![Deliver, Drop, Duplicate, Hold, Release])
}

fn crash() -> impl Strategy<Value = Crash> {
    let torn = (0..2000_usize).prop_map(|bytes| Crash::Torn { bytes });
    prop_oneof![Just(Crash::Idle), Just(Crash::Writing), torn]
}

/// What can happen on a stage of `nodes` replicas that promises nothing but what a cluster is promised.
fn happening(nodes: u16) -> impl Strategy<Value = Command> {
    let kind = prop::option::of(prop::sample::select(vec![
        "append",
        "matched",
        "vote",
        "heartbeat",
        "install",
        "promise",
    ]));
    let cut = || links(nodes);
    prop_oneof![
        3 => time().prop_map(Command::Wait),
        1 => (node(nodes), time()).prop_map(|(node, time)| Command::Tick(node, time)),
        4 => node(nodes).prop_map(Command::Timeout),
        4 => (node(nodes), "[xy]", "[a-z]{1,3}").prop_map(|(node, key, value)| Command::Propose { node, key, value }),
        2 => (node(nodes), "[xy]").prop_map(|(node, key)| Command::Read { node, key }),
        6 => (motion(), links(nodes), kind)
            .prop_map(|(motion, links, kind)| Command::Move { motion, links, kind: kind.map(str::to_owned) }),
        3 => node(nodes).prop_map(Command::Sync),
        2 => (node(nodes), crash()).prop_map(|(node, crash)| Command::Crash { node, crash }),
        3 => node(nodes).prop_map(|node| Command::Restart { node, anyway: false }),
        1 => node(nodes).prop_map(Command::Pause),
        1 => node(nodes).prop_map(Command::Resume),
        1 => cut().prop_map(Command::Cut),
        1 => cut().prop_map(Command::Mend),
        1 => Just(Command::Heal),
        4 => Just(Command::Settle),
        1 => (node(nodes), prop::option::of(node(nodes))).prop_map(|(node, to)| Command::Yield { node, to }),
    ]
}

fn expectation() -> impl Strategy<Value = Expectation> {
    let answered = prop_oneof![
        Just(Answered::Not),
        Just(Answered::Refused),
        Just(Answered::Written),
        Just(Answered::Taken),
        name().prop_map(Answered::Found),
        Just(Answered::Absent),
    ];
    prop_oneof![
        (node(15), name()).prop_map(|(node, role)| Expectation::Role(node, role)),
        (node(15), any::<u64>()).prop_map(|(node, term)| Expectation::Term(node, term)),
        (node(15), any::<u64>()).prop_map(|(node, index)| Expectation::Commit(node, index)),
        (node(15), any::<u64>()).prop_map(|(node, index)| Expectation::Applied(node, index)),
        (node(15), "([1-9] ){0,5}").prop_map(|(node, log)| Expectation::Log(node, log.trim_end().to_owned())),
        (node(15), name(), name()).prop_map(|(node, key, value)| Expectation::Value(node, key, value)),
        (node(15), name()).prop_map(|(node, key)| Expectation::Lacks(node, key)),
        answered.prop_map(Expectation::Answer),
        name().prop_map(Expectation::Broken),
    ]
}

fn given_log() -> impl Strategy<Value = GivenLog> {
    (node(15), prop::collection::vec(1..50_u64, 0..20), 0..50_u64).prop_map(|(node, mut terms, later)| {
        terms.sort_unstable();
        let term = terms.last().copied().unwrap_or(0) + later;
        GivenLog { node, terms, term }
    })
}

fn command() -> impl Strategy<Value = Command> {
    let option = (name(), name());
    let groups = prop::sample::subsequence((0..15).map(NodeId).collect::<Vec<_>>(), 1..15);
    prop_oneof![
        10 => happening(15),
        1 => name().prop_map(Command::System),
        1 => given_log().prop_map(Command::Log),
        1 => (1..=15_usize, prop::collection::vec(option, 0..3))
            .prop_map(|(nodes, options)| Command::Start { nodes, options }),
        1 => node(15).prop_map(|node| Command::Restart { node, anyway: true }),
        1 => node(15).prop_map(Command::Wipe),
        1 => (node(15), name()).prop_map(|(node, lie)| Command::Lie { node, lie }),
        1 => (groups, 1..4_usize)
            .prop_map(|(nodes, size)| Command::Partition(nodes.chunks(size).map(<[NodeId]>::to_vec).collect())),
        2 => expectation().prop_map(Command::Expect),
        1 => prop_oneof![Just(Shown::Messages), Just(Shown::Log), node(15).prop_map(Shown::Node)]
            .prop_map(Command::Show),
    ]
}

/// A text that is nearly a story.
fn nearly() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => command().prop_map(|command| command.to_string()),
        1 => "[ -~]{0,30}",
        1 => "\\| [a-z]{0,5}",
    ];
    prop::collection::vec(line, 0..8)
        .prop_map(|lines| format!("system raft\nstart 3\n{}\n", lines.join("\n")))
}

/// A leader is there already; images are made often.
const LED: &str = "system raft
start 3 with snapshot_log_bytes = 100, retained_log_bytes = 0
wait 150ms
timeout 0
settle
| 0 campaigns in term 1
| 0 leads in term 1
";

/// Nobody leads, ever; registers are written anew often.
const LEADERLESS: &str = "system paxos
start 3 with rewrite_log_bytes = 1
";

/// Only the commands that can be carried out, one after the other, with everything they print.
fn story(start: &str, commands: &[Command]) -> Result<String, TestCaseError> {
    let mut text = start.to_owned();
    for command in commands {
        match perform(&format!("{text}{command}\n")) {
            Ok(performance) => text = performance.rewritten,
            Err(StoryError::Impossible { .. }) => {}
            Err(error) => return Err(TestCaseError::fail(format!("{error}\n{text}{command}"))),
        }
    }
    Ok(text)
}

proptest! {
    #[test]
    fn a_command_that_is_printed_is_read_back(command in command()) {
        prop_assert_eq!(reader::command(&command.to_string()), Ok(command));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,60}", words in prop::collection::vec(name(), 0..6)) {
        let _ = reader::command(&text);
        let _ = reader::command(&words.join(" "));
        let _ = perform(&text);
    }

    #[test]
    fn what_is_nearly_a_story_never_panics(text in nearly()) {
        if let Err(StoryError::Broken { law, what, .. }) = perform(&text) {
            prop_assert!(law != "panic" || text.contains("anyway"), "{}", what);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_script_breaks_a_law_and_what_is_rewritten_is_stable(
        start in prop::sample::select(vec![LED, LEADERLESS]),
        commands in prop::collection::vec(happening(3), 60),
    ) {
        let text = story(start, &commands)?;
        let again = perform(&text).unwrap();
        prop_assert_eq!(again.difference, None);
        prop_assert_eq!(again.rewritten, text);
    }
}

#[test]
fn a_mistake_is_pointed_at() {
    let column = |line: &str| reader::command(line).unwrap_err().to_string();
    assert!(column("propse 0 x 1").starts_with("column 1: \"propse\" is no command; there are system, "));
    assert_eq!(column("timeout 15"), "column 9: \"15\" is no replica; they are 0 to 14");
    assert_eq!(column("  wait 150"), "column 8: \"150\" is no time; write 20us, 150ms or 2s");
    assert_eq!(column("propose 0 x"), "column 12: here goes a value");
    assert_eq!(column("heal now"), "column 6: nothing follows here, but there is \"now\"");
    assert_eq!(
        column("log 0: 2 1"),
        "column 10: the terms of entries begin at 1 and never fall, up to 1000000"
    );
    assert_eq!(column("partition 0,1 | 1"), "column 17: a replica is in one group only");
}

#[test]
fn a_story_that_goes_wrong_says_where_and_how() {
    let end = |text: &str| perform(text).unwrap_err().to_string();
    assert_eq!(end(""), "1: a story begins with `system` and one of raft, multi-paxos, paxos, pbft");
    assert_eq!(end("# x\nsystem vr\n"), "2: \"vr\" cannot act; there are raft, multi-paxos, paxos, pbft");
    assert_eq!(end("system raft\ntimeout 0\n"), "2: nobody is there yet: `start 3` first");
    assert_eq!(end("system raft\nstart 3\n\nwait x\n"), "4:6: \"x\" is no time; write 20us, 150ms or 2s");
    assert_eq!(end("system raft\nstart 3\ntimeout 3\n"), "3: there is no replica 3; they are 0 to 2");
    assert_eq!(
        end("system raft\nstart 3\nexpect 0 role leader\n"),
        "3: expected 0 role leader; found 0 role follower"
    );
    assert_eq!(
        end("system paxos\nlog 0: in term 3\nstart 3\n"),
        "3: a log without entries names no register that could have promised anything"
    );
    assert_eq!(
        end("system raft\nstart 3\nexpect broken R4\n"),
        "3: expected law R4 to be broken; found every law holds"
    );
}

#[test]
fn a_law_that_is_broken_ends_the_story_where_it_was_broken() {
    let text = include_str!("../scenarios/raft/identity-reused.txt");
    let broken = text.lines().position(|line| line == "expect broken R4").unwrap();
    let unexpected: String = text.lines().take(broken).map(|line| format!("{line}\n")).collect();
    let settle =
        unexpected.lines().collect::<Vec<_>>().iter().rposition(|line| *line == "settle").unwrap() + 1;
    let Err(StoryError::Broken { line, law, .. }) = perform(&unexpected) else { panic!("it is not noticed") };
    assert_eq!((line, law.as_str()), (settle, "R4 leader completeness"));
    let another = text.replace("expect broken R4", "expect broken R7");
    assert!(matches!(perform(&another), Err(StoryError::Broken { .. })));
    let longer = format!("{text}settle\n");
    assert!(matches!(perform(&longer), Err(StoryError::Impossible { .. })));
}

#[test]
fn what_is_printed_otherwise_is_a_difference_and_is_rewritten() {
    let text = "system raft\nstart 3\nshow 0 # why\n| 0 leader\n\n# The end.\nshow messages\n| nothing\n";
    let performance = perform(text).unwrap();
    let line = "0 follower in term 0, commit 0, applied 0, log";
    assert_eq!(
        performance.difference.unwrap().to_string(),
        format!("3: prints something else\n- 0 leader\n+ {line}")
    );
    assert_eq!(
        performance.rewritten,
        format!("system raft\nstart 3\nshow 0 # why\n| {line}\n\n# The end.\nshow messages\n")
    );
}
