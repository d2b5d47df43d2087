fn main() {
    let seed: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let schedule = qlab_simulator::campaign::schedule::<qlab_raft::Raft>(seed, qlab_simulator::Choice::Swarm);
    let setup = || qlab_simulator::Setup::<qlab_raft::Raft> { tells_story: true, ..Default::default() };
    let (schedule, outcome) = if std::env::args().nth(2).is_some() {
        let o = qlab_simulator::attempt(&schedule, &setup());
        (schedule, o)
    } else {
        qlab_simulator::cut_down(&schedule, &setup()).unwrap()
    };
    println!("{schedule:#?}");
    for line in &outcome.story {
        println!("{line}");
    }
    println!("{:?}", outcome.violation);
}
